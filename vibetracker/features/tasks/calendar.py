"""Days and zones: when a day begins and ends, and what that means for a due date."""

import sqlite3
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, cached_property
from typing import Annotated, Any, override
from zoneinfo import ZoneInfo, available_timezones

from fastapi import Query, Request
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from vibetracker.core.model import UTCDateTime, utcnow
from vibetracker.core.schema import (
    CALENDAR_DATE,
    DATE_SCHEMA,
    TIMESTAMP_SCHEMA,
    parse_date,
    parse_timestamp,
)

DAY = timedelta(days=1)
SPELLED_OUT = {
    "CET": "Europe/Brussels",
    "MET": "Europe/Brussels",
    "EET": "Europe/Athens",
    "WET": "Europe/Lisbon",
}
"""Names that PostgreSQL takes for abbreviations, which have no summer time, and the same zones."""


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Tell the instant at which a day begins in a zone.

    Where clocks skip midnight, that is the instant at which they do.
    """
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Tell the instant at which a day is over in a zone, and the next one begins."""
    return start_of_day(day + DAY, zone)


class Clock(BaseModel):
    """The zone in which the days of a request begin and end, and its present.

    As a parameter of a handler it is the clock of the server's settings.
    """

    model_config = ConfigDict(frozen=True)

    @classmethod
    def at(cls, now: datetime, zone: ZoneInfo) -> "Clock":
        """Make a clock that shows this instant."""
        clock = cls()
        vars(clock).update(now=now, zone=zone)
        return clock

    @override
    def model_post_init(self, context: Any) -> None:
        """Take the zone of a request, where there is one."""
        if context is not None:
            vars(self)["zone"] = ZoneInfo(self._zone_of(context["request"]))

    def _zone_of(self, request: Request) -> str:
        name: str = request.app.state.settings.time_zone
        return name

    @cached_property
    def zone(self) -> ZoneInfo:
        """The zone in which days begin and end."""
        raise RuntimeError("only the clock of a request knows a zone, or one that is set")

    @cached_property
    def now(self) -> datetime:
        """The instant at which the request is answered."""
        return utcnow()

    def instant(self, moment: date) -> datetime:
        """Turn a bound of a range into an instant: a date stands for the start of its day."""
        return moment if isinstance(moment, datetime) else start_of_day(moment, self.zone)

    def last_day_over_before(self, instant: datetime) -> date:
        """Tell the last day that is over before an instant."""
        # Where clocks went back past midnight, today is over already for the second time.
        day = instant.astimezone(self.zone).date()
        while end_of_day(day, self.zone) >= instant:
            day -= DAY
        return day


class EndOfDay(GenericFunction[datetime]):
    """SQL for the instant at which the day of a date column is over in a zone."""

    type = UTCDateTime()
    inherit_cache = True

    def __init__(self, day: Any, zone: str) -> None:
        super().__init__(day, SPELLED_OUT.get(zone, zone))


@compiles(EndOfDay, "postgresql")
def _on_postgresql(element: EndOfDay, compiler: SQLCompiler, **options: Any) -> str:
    day, zone = (compiler.process(clause, **options) for clause in element.clauses)
    midnight = f"({day} + 1)::timestamp"
    # Where clocks go back to it, midnight comes twice. PostgreSQL takes the second one, a day
    # ends with the first, which has the offset of the day before.
    second = f"timezone({zone}, {midnight})"
    day_before = f"({second} - interval '24 hours')"
    offset = f"(timezone({zone}, {day_before}) - timezone('UTC', {day_before}))"
    first = f"timezone('UTC', {midnight} - {offset})"
    return f"CASE WHEN timezone({zone}, {first}) = {midnight} THEN {first} ELSE {second} END"


@compiles(EndOfDay, "sqlite")
def _on_sqlite(element: EndOfDay, compiler: SQLCompiler, **options: Any) -> str:
    return f"end_of_day({compiler.process(element.clauses, **options)})"


@event.listens_for(Engine, "connect")
def _teach_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.create_function("end_of_day", 2, _end_of_day_text, deterministic=True)


def _end_of_day_text(day: str | None, zone: str) -> str | None:
    if day is None:
        return None
    return f"{end_of_day(date.fromisoformat(day), ZoneInfo(zone)):%Y-%m-%d %H:%M:%S.%f}"


@cache
def _zones() -> set[str]:
    # "localtime" is this machine's own, a name that means nothing to anybody else.
    return available_timezones() - {"localtime"}


def _zone(name: str) -> str:
    if name not in _zones():
        raise PydanticCustomError("time_zone", "Expected an IANA time zone such as Europe/Berlin")
    return name


def _moment(value: object) -> object:
    if isinstance(value, str) and CALENDAR_DATE.fullmatch(value):
        return parse_date(value)
    return parse_timestamp(value)


Zone = Annotated[
    str,
    AfterValidator(_zone),
    Field(json_schema_extra={"pattern": "^[A-Za-z0-9_+/-]+$", "examples": ["Europe/Berlin"]}),
]
"""The name of an IANA time zone."""

Moment = Annotated[
    date,
    # In place of the validation as a date, which would cut a timestamp off at its day.
    PlainValidator(_moment),
    WithJsonSchema({"anyOf": [DATE_SCHEMA, TIMESTAMP_SCHEMA], "examples": ["2026-02-28"]}),
]
"""A date, which stands for the start of its day, or a timestamp."""


class ZonedClock(Clock):
    """A clock in the zone that the request names."""

    tz: Zone | None = Field(
        None,
        description="IANA zone in which days begin and end, `Europe/Berlin` for instance; "
        "the server's own when absent.",
    )

    @override
    def _zone_of(self, request: Request) -> str:
        return self.tz or super()._zone_of(request)


ServerClockDep = Annotated[Clock, Query()]
ClockDep = Annotated[ZonedClock, Query()]
