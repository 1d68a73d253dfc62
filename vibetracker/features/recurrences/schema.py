"""What comes in and goes out for recurrences."""

from datetime import date, datetime
from typing import Annotated

from pydantic import MISSING, AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from vibetracker.core.api.schema import Id, Input, Output, Patch
from vibetracker.features.tasks.calendar import Zone

from . import rules
from .model import Mode as ModeEnum


def _canonical(text: str) -> str:
    try:
        return rules.canonical(text)
    except rules.RuleError as error:
        raise PydanticCustomError("recurrence_rule", "{fault}", {"fault": str(error)}) from None


Rule = Annotated[
    str,
    StringConstraints(max_length=500),
    AfterValidator(_canonical),
    Field(
        description="The value of an `RRULE` (RFC 5545, section 3.3.10) with `FREQ` (`DAILY`, "
        "`WEEKLY`, `MONTHLY` or `YEARLY`), `INTERVAL` (up to 999), `BYDAY`, `BYMONTHDAY`, "
        "`BYMONTH`, `BYSETPOS`, `WKST`, and `COUNT` (up to 9999, the task included) or `UNTIL` (a "
        "date, or an instant in UTC). What it leaves open is as in the task's due; months that are "
        "too short for that day of the month have it on their last day. A `BYMONTHDAY` leaves them "
        "out.",
        json_schema_extra={
            "pattern": rules.PATTERN,
            "examples": [
                "FREQ=MONTHLY",
                "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH",
                "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
                "FREQ=YEARLY;COUNT=5",
            ],
        },
    ),
]
TimeZone = Annotated[
    Zone,
    Field(description="The IANA zone whose wall clock the dues keep to; absent: the server's."),
]
Mode = Annotated[
    ModeEnum,
    Field(
        strict=False,
        description="What the next due is counted from: the due before (`fixed`), or the day of "
        "the completion (`after_completion`).",
    ),
]


class RecurrenceCreate(Input):
    """What makes a task come again."""

    task_id: Annotated[Id, Field(description="An open task with a due, and no recurrence yet.")]
    rule: Rule
    time_zone: TimeZone | MISSING = MISSING
    mode: Mode = ModeEnum.FIXED


class RecurrenceUpdate(Patch):
    """Changes to a recurrence; a new rule counts from the task as it is."""

    rule: Rule | MISSING = MISSING
    time_zone: TimeZone | MISSING = MISSING
    mode: Mode | MISSING = MISSING


class RecurrenceRead(Output):
    """What makes a task come again."""

    id: int
    task_id: int = Field(description="The task that comes again when it is done.")
    rule: str = Field(description="The value of an `RRULE`, `FREQ` first.")
    time_zone: str = Field(description="The IANA zone whose wall clock the dues keep to.")
    mode: ModeEnum = Field(description="What the next due is counted from.")
    anchor: str = Field(
        description="The day of the month and the time on the wall clock that the dues keep to, "
        "where the task's due is the last day of a shorter month, or of a day that skips the time.",
        examples=["2026-01-31T09:00:00"],
    )
    number: int = Field(description="Which due of the rule the task has; the last one is `COUNT`.")
    previous_task_id: int | None = Field(description="The task before; it may be deleted.")
    created_at: datetime
    updated_at: datetime
    version: int


class OccurrenceRead(Output):
    """A due that is to come, as a task has it."""

    due_on: date | None = Field(description="The day at whose end it is due.")
    due_at: datetime | None = Field(description="The instant at which it is due, in UTC.")


class Occurrences(Output):
    """The dues that are to come."""

    items: list[OccurrenceRead] = Field(description="The next one first; empty behind the last.")
