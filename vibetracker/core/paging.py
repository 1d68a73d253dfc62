"""Lists: sorting by named keys, and keyset paging with cursors bound to their query."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from hashlib import blake2b
from types import FunctionType
from typing import Annotated, Any, cast, override
from urllib.parse import urlencode

from fastapi import Query, Request
from pydantic import MISSING, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema, to_json
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute

from vibetracker.core.filters import Narrowed, Parametrized, Shape, parametrized
from vibetracker.core.problems import invalid
from vibetracker.core.schema import FROM_DIGITS, Output, UrlBool
from vibetracker.core.session import Session
from vibetracker.core.statements import Kept

MAX_LIMIT = 200
DEFAULT_LIMIT = 50

type SortExpression = InstrumentedAttribute[Any] | ColumnElement[Any]


class Page[T](Output):
    """One page of a list."""

    items: list[T] = Field(description="At most `limit` of them, in the order of `sort`.")
    next_cursor: str | None = Field(
        description="Give this as `cursor` to get the next page; null on the last one."
    )
    total: int | MISSING = Field(
        MISSING, description="How many there are on all pages; only with `include_total=true`."
    )

    @classmethod
    @override
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """Name the page of ``TaskRead`` ``TaskPage``, since its name is that of its schema."""
        return f"{params[0].__name__.removesuffix('Read')}Page"


@dataclass(frozen=True)
class Rows:
    """What a list operation returns: the rows of one page, and where the next one begins."""

    items: list[dict[str, Any]]
    next_cursor: str | None
    total: int | None = None
    link: str | None = None

    def to_json(self) -> bytes:
        """Write the page; its rows come from the database and need no second validation."""
        page: dict[str, object] = {"items": self.items, "next_cursor": self.next_cursor}
        if self.total is not None:
            page["total"] = self.total
        return to_json(page)


@dataclass(frozen=True)
class Key:
    """A key to sort by; ``nullable`` ones sort their nulls last in both directions.

    ``expression`` may be a function of the context that the handler gives to ``paginate``.
    ``shared`` says that many rows have the same value, so that paging looks for the rest of them
    by a statement of its own.
    """

    expression: SortExpression | Callable[[Any], SortExpression]
    nullable: bool = False
    shared: bool = False

    @property
    def varies(self) -> bool:
        """Tell whether the SQL depends on the context."""
        return isinstance(self.expression, FunctionType)

    def column(self, context: object) -> SortExpression:
        """Give the SQL to sort by."""
        if isinstance(self.expression, FunctionType):
            column: SortExpression = self.expression(context)
            return column
        return cast(SortExpression, self.expression)


@dataclass(frozen=True)
class Term:
    """One key of a request's ``sort``, with its direction."""

    name: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.name}" if self.descending else self.name


class Sorting:
    """The keys that a list can be sorted by, and a mark for the ``sort`` parameter's ``str``.

    ``id`` is one of them, and breaks ties ascending where the request does not sort by it.
    """

    def __init__(self, default: str, **keys: Key) -> None:
        self.default = default
        self.keys = keys
        self.description = (
            f"Comma-separated keys out of {', '.join(f'`{key}`' for key in keys)}, each once; "
            "`-` in front means descending. Nulls come last in both directions, `id` breaks ties."
        )

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        key = f"-?({'|'.join(self.keys)})"
        return core_schema.no_info_after_validator_function(
            self._check,
            core_schema.str_schema(),
            metadata={
                "pydantic_js_updates": {
                    "pattern": f"^{key}(,{key})*$",
                    "maxLength": sum(len(key) + 2 for key in self.keys),
                }
            },
        )

    def _check(self, sort: str) -> str:
        names = [term.name for term in _terms(sort)]
        if not set(names) <= self.keys.keys():
            raise PydanticCustomError(
                "sort_key",
                "Expected a comma-separated list of {keys}, each with - in front for descending",
                {"keys": ", ".join(self.keys)},
            )
        if len(set(names)) < len(names):
            raise PydanticCustomError("sort_key_twice", "Each key can be given once")
        return sort

    def is_fixed(self, sort: str) -> bool:
        """Tell whether a ``sort`` means the same SQL whatever the context is."""
        return not any(self.keys[term.name].varies for term in self.terms(sort))

    def terms(self, sort: str) -> list[Term]:
        """Give the keys of a ``sort`` that decide the order, the last one being ``id``."""
        terms = [*_terms(sort), Term("id")]
        return terms[: [term.name for term in terms].index("id") + 1]


def _terms(sort: str) -> list[Term]:
    return [
        Term(part.removeprefix("-"), descending=part.startswith("-")) for part in sort.split(",")
    ]


class PageRequest(BaseModel):
    """Which page of a list is asked for."""

    model_config = ConfigDict(frozen=True)

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT), FROM_DIGITS] = Field(
        DEFAULT_LIMIT, description="How many items a page has at most."
    )
    cursor: str | None = Field(
        None,
        max_length=20_000,
        description="Where the page begins: `next_cursor` of the page before, with the same "
        "filters and the same sort.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]*$"},
    )
    include_total: UrlBool = Field(
        default=False, description="Count the items of all pages, which costs time."
    )

    _path: str = ""
    _query: tuple[tuple[str, str], ...] = ()

    @override
    def model_post_init(self, context: Any) -> None:
        """Take from the request what its cursors are bound to."""
        request: Request = context["request"]
        self._path = request.scope["path"]
        self._query = tuple(request.query_params.multi_items())

    def digest(self, sort: str, payload: bytes) -> bytes:
        """Bind a cursor to what it was made for, so that it is refused anywhere else."""
        unbound = {"cursor", "limit", "include_total", "sort"}
        bound = [pair for pair in self._query if pair[0] not in unbound]
        data = json.dumps([self._path, sorted(bound), sort]).encode() + payload
        return blake2b(data, digest_size=9, person=b"vibetracker").digest()

    def link(self, cursor: str) -> str:
        """Write the ``Link`` field value that leads to the next page (RFC 8288)."""
        query = [pair for pair in self._query if pair[0] != "cursor"]
        return f'<{self._path}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'


PageDep = Annotated[PageRequest, Query()]


def paginate(
    session: Session,
    statement: Select[*tuple[Any, ...]] | Narrowed,
    page: PageRequest,
    sorting: Sorting,
    sort: str,
    context: object = None,
) -> Rows:
    """Run a list's statement for one page; its rows have the columns of the statement.

    A row that matches and keeps its sort values during a walk is on exactly one page, since a
    page begins after the values of the row before it and not after a number of rows.
    """
    narrowed = statement if isinstance(statement, Narrowed) else Narrowed(statement)
    shape, values = narrowed.shape()
    order = (
        _kept_order(shape, sorting, sort)
        if sorting.is_fixed(sort)
        else _order(shape, sorting, sort, context)
    )
    # It runs the statements without the session's bookkeeping for objects, of which they have none.
    connection = session.connection()
    values = order.source.values(connection, values)
    total = connection.scalar(order.count, values) if page.include_total else None
    parts = [order.statement]
    if page.cursor is not None:
        after = _decode(page, order.text)
        parts = order.after(tuple(value is None for value in after))
        values |= {f"after_{n}": value for n, value in enumerate(after) if value is not None}
    rows: list[Sequence[Any]] = []
    for part in parts:
        rows += part.rows(connection, {**values, "at_most": page.limit + 1 - len(rows)})
        if len(rows) > page.limit:
            break
    cursor = None
    if len(rows) > page.limit:
        rows = rows[: page.limit]
        cursor = encode_cursor(page, order.text, list(rows[-1][len(order.names) :]))
    items = [dict(zip(order.names, row, strict=False)) for row in rows]
    return Rows(items, cursor, total, cursor and page.link(cursor))


@dataclass
class _Order:
    """A list's statements in the order of one ``sort``; they take the parameter ``at_most``."""

    source: Parametrized
    ordered: Select[*tuple[Any, ...]]
    names: list[str]
    terms: list[Term]
    keys: list[Key]
    columns: list[SortExpression]
    text: str
    _after: dict[tuple[bool, ...], list[Kept]] = field(default_factory=dict)

    @cached_property
    def statement(self) -> Kept:
        """The first rows."""
        return Kept(self.ordered)

    @cached_property
    def count(self) -> Select[int]:
        """Count the rows of all pages."""
        return select(func.count()).select_from(self.source.statement.subquery())

    def after(self, nulls: tuple[bool, ...]) -> list[Kept]:
        """Give the statements for the rows after one whose sort values are null there.

        They take its other sort values as parameters, ``after_0`` the first one.
        """
        if nulls not in self._after:
            values = [
                None if null else bindparam(f"after_{n}", type_=column.type)
                for n, (null, column) in enumerate(zip(nulls, self.columns, strict=True))
            ]
            self._after[nulls] = [
                Kept(self.ordered.where(beyond))
                for beyond in _after(self.terms, self.keys, self.columns, values)
            ]
        return self._after[nulls]


def _order(shape: Shape, sorting: Sorting, sort: str, context: object) -> _Order:
    source = parametrized(shape)
    narrowed = source.statement
    terms = sorting.terms(sort)
    keys = [sorting.keys[term.name] for term in terms]
    columns = [key.column(context) for key in keys]
    order = []
    for term, key, column in zip(terms, keys, columns, strict=True):
        direction = column.desc() if term.descending else column.asc()
        order.append(direction.nulls_last() if key.nullable else direction)
    return _Order(
        source,
        narrowed.add_columns(*columns).order_by(*order).limit(bindparam("at_most", type_=Integer)),
        [column.name for column in narrowed.selected_columns],
        terms,
        keys,
        columns,
        ",".join(map(str, terms)),
    )


@lru_cache(maxsize=128)
def _kept_order(shape: Shape, sorting: Sorting, sort: str) -> _Order:
    """Put a statement in order that is used again, whose SQL SQLAlchemy then finds at once."""
    return _order(shape, sorting, sort, None)


def _after(
    sort: Sequence[Term],
    keys: Sequence[Key],
    columns: Sequence[SortExpression],
    values: Sequence[BindParameter[Any] | None],
) -> list[ColumnElement[bool]]:
    """Say in SQL that a row comes after the one with these sort values.

    Each condition is one range of an index, and what meets it comes before what meets the next.
    """
    ranges: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for term, key, column, value in zip(sort, keys, columns, values, strict=True):
        if value is not None:
            beyond = column < value if term.descending else column > value
            if key.nullable and equal:
                beyond = or_(beyond, column.is_(None))
            ranges.append(and_(*equal, beyond))
        equal.append(column.is_(None) if value is None else column == value)
    first, value = columns[0], values[0]
    if value is None:
        return [and_(first.is_(None), or_(*ranges))]
    if keys[0].nullable:
        return [and_(first == value, or_(*ranges[1:])), ranges[0], first.is_(None)]
    if keys[0].shared:
        return [and_(first == value, or_(*ranges[1:])), ranges[0]]
    # The start says nothing new, but lets the database enter the index at the first key's value.
    start = first <= value if sort[0].descending else first >= value
    return [and_(start, or_(*ranges))]


def encode_cursor(page: PageRequest, sort: str, values: Sequence[Any]) -> str:
    """Write the cursor of the page that begins after a row with these sort values."""
    payload = json.dumps(values, separators=(",", ":"), default=_tagged).encode()
    return urlsafe_b64encode(page.digest(sort, payload) + payload).decode().rstrip("=")


def _decode(page: PageRequest, sort: str) -> list[Any]:
    cursor = page.cursor or ""
    try:
        data = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        data = b""
    # The comparison with its own encoding refuses spellings that the decoder reads leniently.
    if (
        page.digest(sort, data[9:]) != data[:9]
        or urlsafe_b64encode(data).decode().rstrip("=") != cursor
    ):
        raise invalid(
            "Not a cursor of this list with these filters and this sort; begin without one",
            code="cursor",
            parameter="cursor",
        )
    return [_untagged(value) for value in json.loads(data[9:])]


def _tagged(value: date) -> dict[str, str]:
    return {"t" if isinstance(value, datetime) else "d": value.isoformat()}


def _untagged(value: Any) -> Any:
    match value:
        case {"t": instant}:
            return datetime.fromisoformat(instant).astimezone(UTC)
        case {"d": day}:
            return date.fromisoformat(day)
    return value
