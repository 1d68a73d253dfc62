"""What requests and responses are built from: base models and exact field types."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any

from pydantic import MISSING, BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema
from sqlalchemy import ColumnElement, Select, select, type_coerce
from sqlalchemy.orm import DeclarativeBase

from vibetracker.core.model import Ranked

MAX_ID = 2**53 - 1
"""Largest integer that every JSON client reads exactly."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
CONTROL_BUT_LAYOUT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
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

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    @cache
    def sources(cls) -> dict[str, str]:
        """Tell for each field of an answer the attribute of a row that it is read from."""
        return {
            name: str(field.validation_alias or name)
            for name, field in cls.model_fields.items()
            if field.default is not MISSING
        }

    @classmethod
    @cache
    def select(cls, model: type[DeclarativeBase]) -> Select[*tuple[Any, ...]]:
        """Select from a model what this answer needs, under the names that it has here.

        A list reads these columns instead of objects, and writes them as they are.
        """
        return select(
            *(_plain(getattr(model, source)).label(name) for name, source in cls.sources().items())
        )

    @classmethod
    def of(cls, row: DeclarativeBase) -> dict[str, Any]:
        """Give the members of the answer that shows a row, which need no second validation."""
        has = vars(row)
        return {
            name: has[source] if source in has else getattr(row, source)
            for name, source in cls.sources().items()
        }


def _plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, Ranked):
        return type_coerce(column, column.type.spelled)
    return column


@dataclass(frozen=True)
class Line:
    """Marks a ``str`` as a single line of text, trimmed and NFC-normalised.

    Lengths count code points after that. Control characters and line breaks are refused, and so
    is each character of ``without``.
    """

    max_length: int
    min_length: int = 1
    without: str = ""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        excluded = re.escape(self.without)
        ink = rf"[^\s\u0000-\u001f\u007f-\u009f{excluded}]"
        rest = rf"[^\u0000-\u001f\u007f-\u009f\u2028\u2029{excluded}]*"
        pattern = rf"^{rest}{ink}{rest}$" if self.min_length else rf"^{rest}$"
        return core_schema.no_info_after_validator_function(
            self._clean,
            core_schema.str_schema(strict=True),
            metadata={
                "pydantic_js_updates": {
                    "minLength": self.min_length,
                    "maxLength": self.max_length,
                    "pattern": pattern,
                }
            },
        )

    def _clean(self, value: str) -> str:
        _refuse(CONTROL, value, "a single line of text has no control characters or line breaks")
        for character in self.without:
            if character in value:
                raise PydanticCustomError(
                    "text_character",
                    "The character {character} is not allowed here",
                    {"character": character},
                )
        value = unicodedata.normalize("NFC", value.strip())
        return _check_length(value, self.min_length, self.max_length)


@dataclass(frozen=True)
class Prose:
    """Marks a ``str`` as text of many lines, kept as it is written.

    Control characters other than tab and line breaks are refused.
    """

    max_length: int

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            self._clean,
            core_schema.str_schema(strict=True),
            metadata={
                "pydantic_js_updates": {
                    "maxLength": self.max_length,
                    "pattern": r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$",
                }
            },
        )

    def _clean(self, value: str) -> str:
        _refuse(CONTROL_BUT_LAYOUT, value, "text has no control characters but tab and line break")
        return _check_length(value, 0, self.max_length)


def _refuse(pattern: re.Pattern[str], value: str, detail: str) -> None:
    if pattern.search(value):
        raise PydanticCustomError(
            "text_control_character", "{rule}", {"rule": detail[0].upper() + detail[1:]}
        )


def _check_length(value: str, shortest: int, longest: int) -> str:
    if len(value) < shortest:
        raise PydanticKnownError("string_too_short", {"min_length": shortest})
    if len(value) > longest:
        raise PydanticKnownError("string_too_long", {"max_length": longest})
    return value


def parse_timestamp(value: object) -> datetime:
    """Read an RFC 3339 timestamp into UTC; the offset is required, the year 1900 to 9998.

    Digits after the sixth of a fraction are dropped, since microseconds are what is stored.
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("timestamp_type", "Expected a string with an RFC 3339 timestamp")
    if not TIMESTAMP.fullmatch(value):
        error = "timestamp_format"
        hint = ""
        if TIMESTAMP.fullmatch(value.replace(" ", "+")):
            hint = "; write the + of an offset as %2B in a query"
        raise PydanticCustomError(
            error,
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


def _boolean(value: object) -> object:
    if isinstance(value, str):
        if value not in {"true", "false"}:
            raise PydanticCustomError("bool_text", "Expected true or false")
        return value == "true"
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

UrlBool = Annotated[bool, BeforeValidator(_boolean)]
"""``true`` or ``false`` in a query."""


class Patch(Input):
    """An RFC 7396 merge patch: a member that is absent leaves its field untouched."""

    def changes(self) -> dict[str, Any]:
        """Give the members that were sent, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def apply_to[R](self, resource: R, *names: str) -> R:
        """Assign what was sent to the attributes of the same names, or only to some of them."""
        for name, value in self.changes().items():
            if not names or name in names:
                setattr(resource, name, value)
        return resource
