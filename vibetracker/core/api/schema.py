"""What requests and responses are built from: base models and exact field types."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any

from pydantic import MISSING, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError, PydanticKnownError
from sqlalchemy import ColumnElement, Select, inspect, select, type_coerce
from sqlalchemy.orm import DeclarativeBase

from vibetracker.core.db.types import Ranked

MAX_ID = 2**53 - 1
"""Largest integer that every JSON client reads exactly."""

TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII
)
CALENDAR_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
LAST_YEAR = 9998


class Input(BaseModel):
    """What a client sends: unknown members and loose types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Output(BaseModel):
    """What a client receives; reads its fields from the attributes of a row."""

    model_config = ConfigDict(from_attributes=True, validate_by_name=True)

    @classmethod
    @cache
    def sources(cls) -> dict[str, str]:
        """Return for each field of an answer the attribute of a row that it is read from."""
        return {
            # An alias is the name that clients see.
            name: name if source in (None, field.alias) else str(source)
            for name, field in cls.model_fields.items()
            if field.default is not MISSING
            for source in [field.validation_alias]
        }

    @classmethod
    @cache
    def select(cls, model: type[DeclarativeBase]) -> Select[*tuple[Any, ...]]:
        """Select from a model what this answer needs, under the names that it has here.

        A list reads these columns instead of objects, and writes them as they are. ``TypeError``
        for a field that is no column of the model.
        """
        attributes = inspect(model).column_attrs
        for name, source in cls.sources().items():
            if source not in attributes:
                raise TypeError(
                    f"{cls.__name__}.{name} is no column of {model.__name__}; return the row "
                    "itself, or select what the field needs"
                )
        return select_attributes(model, cls.sources())


class Members(dict[str, Any]):
    """The members of an answer that were read for it: there is nothing to filter or to convert.

    Any other dict is validated by the response model, as FastAPI does it.
    """


@cache
def marked[K](model: type[BaseModel], kind: type[K]) -> list[tuple[str, K]]:
    """List the fields that are annotated with something of a kind, each with that."""
    fields = model.model_fields.items()
    return [
        (name, mark) for name, field in fields for mark in field.metadata if isinstance(mark, kind)
    ]


def select_attributes(
    model: type[DeclarativeBase], sources: Mapping[str, str]
) -> Select[*tuple[Any, ...]]:
    """Select attributes of a model, each under its name in ``sources``; enums come as text."""
    attributes = inspect(model).column_attrs
    return select(
        *(_plain(attributes[source].columns[0]).label(name) for name, source in sources.items())
    )


def _plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, Ranked):
        return type_coerce(column, Ranked(column.type.enum, as_text=True))
    return column


def parse_timestamp(value: object) -> datetime:
    """Read an RFC 3339 timestamp into UTC; the offset is required, the year 1900 to 9998.

    Digits after the sixth of a fraction are dropped, since microseconds are what is stored.
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("timestamp_type", "Expected a string with an RFC 3339 timestamp")
    if not TIMESTAMP.fullmatch(value):
        is_decoded = TIMESTAMP.fullmatch(value.replace(" ", "+"))
        hint = "; write the + of an offset as %2B in a query" if is_decoded else ""
        raise PydanticCustomError(
            "timestamp_format",
            "Expected an RFC 3339 timestamp with an offset such as 2026-02-28T12:00:00Z, "
            "in the years 1900 to 9998{hint}",
            {"hint": hint},
        )
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("timestamp_value", "No such moment in the calendar") from None
    _check_year(moment.year)
    return moment


def parse_date(value: object) -> date:
    """Read a calendar date ``YYYY-MM-DD`` (RFC 3339 full-date) of the years 1900 to 9998."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not CALENDAR_DATE.fullmatch(value):
        raise PydanticCustomError(
            "date_format",
            "Expected a date as YYYY-MM-DD in the years 1900 to 9998, such as 2026-02-28",
        )
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise PydanticCustomError("date_value", "No such day in the calendar") from None
    _check_year(day.year)
    return day


def _check_year(year: int) -> None:
    if not 1900 <= year <= LAST_YEAR:
        raise PydanticCustomError("year_out_of_range", "The year, in UTC, must be 1900 to 9998")


def _integral(value: object) -> object:
    """Let 1.0 be the integer that JSON Schema says it is; leave everything else to be refused."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digits(value: object) -> object:
    """Read an integer from a URL in its one canonical spelling: no sign, space or leading zero."""
    if isinstance(value, str):
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", value):
            raise PydanticKnownError("int_parsing")
        return int(value)
    return value


def boolean(value: object) -> object:
    """Read a boolean from a URL: ``true`` or ``false`` in any case."""
    if isinstance(value, str):
        if value.lower() not in {"true", "false"}:
            raise PydanticCustomError("bool_text", "Expected true or false")
        return value.lower() == "true"
    return value


_DAY = r"(19[0-9]{2}|[2-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"

DATE_SCHEMA = {"type": "string", "format": "date", "pattern": f"^{_DAY}$"}
TIMESTAMP_SCHEMA = {"type": "string", "format": "date-time", "pattern": f"^{_DAY}[Tt]{_CLOCK}$"}

Timestamp = Annotated[
    datetime,
    Field(strict=False, json_schema_extra=TIMESTAMP_SCHEMA),
    BeforeValidator(parse_timestamp),
]
"""An instant, received as RFC 3339 with an offset and given as UTC with ``Z``."""

CalendarDate = Annotated[
    date, Field(strict=False, json_schema_extra=DATE_SCHEMA), BeforeValidator(parse_date)
]
"""A day without a time, ``YYYY-MM-DD``."""

WHOLE = BeforeValidator(_integral)
"""Reads an ``int`` from a body; bounds stand before it, or the OpenAPI document misspells them."""

Id = Annotated[int, Field(ge=1, le=MAX_ID), WHOLE]
"""The id of a resource in a body."""

FROM_DIGITS = BeforeValidator(_digits)
"""Reads an ``int`` from a URL; bounds stand before it, or the OpenAPI document misspells them."""

UrlInt = Annotated[int, FROM_DIGITS]
"""A whole number, not negative, in a path or a query."""

UrlId = Annotated[int, Field(ge=1, le=MAX_ID), FROM_DIGITS]
"""The id of a resource in a path or a query."""

UrlBool = Annotated[bool, BeforeValidator(boolean)]
"""``true`` or ``false`` in a query, in any case."""


class Patch(Input):
    """An RFC 7396 merge patch: a member that is absent leaves its field untouched."""

    def changes(self) -> dict[str, Any]:
        """Return the members that were sent, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def apply_to[R](self, resource: R, *names: str) -> R:
        """Assign what was sent to the attributes of the same names, or only to some of them."""
        for name, value in self.changes().items():
            if not names or name in names:
                setattr(resource, name, value)
        return resource
