"""Public: days and zones; when a day begins and ends, and what that means for a due date."""

import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from vibetracker.core.api.schema import (
    CALENDAR_DATE,
    DATE_SCHEMA,
    TIMESTAMP_SCHEMA,
    parse_date,
    parse_timestamp,
)
from vibetracker.core.db.types import UTCDateTime, utcnow

DAY = timedelta(days=1)
LEAST = timedelta(microseconds=1)
LAST_ZONE = timezone(timedelta(hours=-12))
"""Where a day ends last."""
SPELLED_OUT = {
    "CET": "Europe/Brussels",
    "MET": "Europe/Brussels",
    "EET": "Europe/Athens",
    "WET": "Europe/Lisbon",
}
"""Names that PostgreSQL takes for abbreviations, which have no summer time, and the same zones."""


def start_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the instant at which a day begins in a zone.

    Where clocks skip midnight, that is the instant at which they do.
    """
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def last_instant(day: date, zone: tzinfo) -> datetime:
    """Return the last instant of a day in a zone, to the microsecond that is stored."""
    return start_of_day(day + DAY, zone) - LEAST


@dataclass(frozen=True)
class Clock:
    """The zone in which the days of a request begin and end, and its present."""

    zone: ZoneInfo
    now: datetime = field(default_factory=utcnow)

    def instant(self, moment: date) -> datetime:
        """Return a bound of a range as an instant: a date stands for the start of its day."""
        return moment if isinstance(moment, datetime) else start_of_day(moment, self.zone)

    def last_day_due_before(self, instant: datetime) -> date:
        """Return the last day whose last instant is before an instant."""
        # Where clocks went back past midnight, today is over already for the second time.
        day = instant.astimezone(self.zone).date()
        while last_instant(day, self.zone) >= instant:
            day -= DAY
        return day


class LastInstant(GenericFunction[datetime]):
    """SQL for the last instant of the day of a date column in a zone."""

    type = UTCDateTime()
    inherit_cache = True

    def __init__(self, day: Any, zone: str) -> None:
        super().__init__(day, SPELLED_OUT.get(zone, zone))


@compiles(LastInstant, "postgresql")
def _on_postgresql(element: LastInstant, compiler: SQLCompiler, **options: Any) -> str:
    day, zone = (compiler.process(clause, **options) for clause in element.clauses)
    midnight = f"({day} + 1)::timestamp"
    # Where clocks go back to it, midnight comes twice. PostgreSQL takes the second one, a day
    # ends with the first, which has the offset of the day before.
    second = f"timezone({zone}, {midnight})"
    day_before = f"({second} - interval '24 hours')"
    offset = f"(timezone({zone}, {day_before}) - timezone('UTC', {day_before}))"
    first = f"timezone('UTC', {midnight} - {offset})"
    end = f"CASE WHEN timezone({zone}, {first}) = {midnight} THEN {first} ELSE {second} END"
    return f"({end} - interval '1 microsecond')"


@compiles(LastInstant, "sqlite")
def _on_sqlite(element: LastInstant, compiler: SQLCompiler, **options: Any) -> str:
    return f"last_instant({compiler.process(element.clauses, **options)})"


@event.listens_for(Engine, "connect")
def _teach_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.create_function("last_instant", 2, _last_instant_text, deterministic=True)


def _last_instant_text(day: str | None, zone: str) -> str | None:
    if day is None:
        return None
    return f"{last_instant(date.fromisoformat(day), ZoneInfo(zone)):%Y-%m-%d %H:%M:%S.%f}"


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


async def _server_clock(request: Request) -> Clock:
    return Clock(ZoneInfo(request.app.state.settings.time_zone))


async def _zoned_clock(
    request: Request,
    tz: Annotated[
        Zone | None,
        Query(
            description="IANA zone in which days begin and end, `Europe/Berlin` for instance; "
            "the server's own when absent."
        ),
    ] = None,
) -> Clock:
    return Clock(ZoneInfo(tz)) if tz else await _server_clock(request)


ServerClockDep = Annotated[Clock, Depends(_server_clock)]
"""The clock of the server's settings."""
ClockDep = Annotated[Clock, Depends(_zoned_clock)]
"""A clock in the zone that the request names."""
