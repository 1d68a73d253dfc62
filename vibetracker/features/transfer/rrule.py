"""The RRULE of a VTODO, as recurrences are stored where there are any."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from zoneinfo import ZoneInfo

from vibetracker.core.db.types import utcnow
from vibetracker.features.tasks.calendar import DAY
from vibetracker.features.tasks.model import OPEN

from .lines import instant
from .records import LeftOut, Place, Record, Values
from .vtimezone import Zone

UNTIL = re.compile(r"\bUNTIL=(\d{8})", re.ASCII | re.IGNORECASE)
"""Its day; where that ends last, in the west, the next one has begun in UTC long before."""


def recurrence(
    rule: str, moments: Values, values: Values, place: Place
) -> Iterator[Record | LeftOut]:
    """Read what makes a task come again; a rule that none can have is left out.

    ``moments`` are the times of the VTODO, and ``values`` those of its task.
    """
    due, start = moments.get("DUE"), moments.get("DTSTART")
    if due is None or values["status"] not in OPEN:
        yield LeftOut(
            place,
            "recurrence",
            "The RRULE is left out: a task that is over, or has no DUE, does not come again",
        )
    elif "BY" in rule.upper() and start and _day_of(start) != _day_of(due):
        # It names days of the start, and what comes again here is the due.
        yield LeftOut(
            place,
            "recurrence",
            "The RRULE is left out: it names days of the DTSTART, "
            "which is not on the day of the DUE",
        )
    elif (until := UNTIL.search(rule)) and until[1] < f"{utcnow() - DAY:%Y%m%d}":
        yield LeftOut(place, "recurrence", "The RRULE is left out: its UNTIL has passed")
    else:
        yield from _from(due, rule, values["id"], place)


def _from(due: date, rule: str, task_id: str, place: Place) -> Iterator[Record | LeftOut]:
    zone = due.tzinfo if isinstance(due, datetime) else None
    if isinstance(due, datetime) and isinstance(zone, Zone):
        in_utc = datetime.fromisoformat(instant(due))
        if in_utc.date() != due.date():
            yield LeftOut(
                place,
                "recurrence",
                "The RRULE is left out: its time zone has no IANA name, "
                "and in UTC the DUE is on another day",
            )
            return
        detail = "The time zone has no IANA name: the task comes again at its time in UTC"
        yield LeftOut(place, "zone", detail, ("zone of an RRULE",))
        due = in_utc
    anchor = due.replace(tzinfo=None) if isinstance(due, datetime) else due
    values = {
        "task_id": task_id,
        "rule": rule,
        "time_zone": zone.key if isinstance(zone, ZoneInfo) else "UTC",
        "anchor": anchor.isoformat(),
    }
    yield Record("recurrences", values, place, is_extra=True)


def _day_of(moment: date) -> date:
    return moment.date() if isinstance(moment, datetime) else moment
