"""Lists: one page of a statement's rows, by keyset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import MISSING, BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, func, or_, select
from sqlalchemy.orm import Session

from vibetracker.core.api.cursors import Binding
from vibetracker.core.api.fields import narrowed
from vibetracker.core.api.parameters import FromQuery
from vibetracker.core.api.schema import FROM_DIGITS, Members, Output, UrlBool
from vibetracker.core.api.sorting import Sorting, Term

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
AT_MOST = bindparam("at_most", type_=Integer)


class Page[T](Output):
    """One page of a list."""

    items: list[T] = Field(description="At most `limit` of them, in the order of `sort`.")
    next_cursor: str | None = Field(
        description="Send this as `cursor` to get the next page; null on the last one."
    )
    total: int | MISSING = Field(
        MISSING, description="How many there are on all pages; only with `include_total=true`."
    )


class PageQuery(BaseModel):
    """The parameters that every list has."""

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


@dataclass(frozen=True)
class PageRequest:
    """Which page of a list is asked for, and what its cursors are bound to."""

    query: PageQuery
    binding: Binding


async def _page_request(
    request: Request, query: Annotated[PageQuery, Depends(FromQuery(PageQuery))]
) -> PageRequest:
    return PageRequest(query, Binding.of(request))


PageDep = Annotated[PageRequest, Depends(_page_request)]


@dataclass(frozen=True)
class Rows:
    """What a list operation returns: the rows of one page, and where the next one begins."""

    items: list[dict[str, Any]]
    next_cursor: str | None
    total: int | None = None
    link: str | None = None

    def members(self) -> dict[str, Any]:
        """Return the members of the ``Page``."""
        page = Members(items=self.items, next_cursor=self.next_cursor)
        if self.total is not None:
            page["total"] = self.total
        return page


def paginate(
    session: Session,
    statement: Select[*tuple[Any, ...]],
    page: PageRequest,
    sorting: Sorting,
    sort: str,
    context: object = None,
) -> Rows:
    """Run a list's statement for one page; its rows have the columns of the statement.

    ``context`` is passed to the keys of ``sorting`` whose SQL depends on the request. A row that
    matches and keeps its sort values during a walk is on exactly one page, since a page begins
    after the values of the row before it and not after a number of rows.
    """
    query, binding = page.query, page.binding
    statement = narrowed(session, statement)
    terms = sorting.terms(sort, context)
    canonical = ",".join(term.spelled for term in terms)
    total = None
    if query.include_total:
        total = session.scalar(select(func.count()).select_from(statement.subquery()))
    ordered = statement.add_columns(*(term.stored for term in terms))
    ordered = ordered.order_by(*map(_order, terms)).limit(AT_MOST)
    parts = [ordered]
    if query.cursor is not None:
        after = binding.decode(canonical, query.cursor)
        parts = [ordered.where(beyond) for beyond in _after(terms, after)]
    # Its rows are no objects, which the session would have to look after.
    session.flush()
    connection = session.connection()
    rows: list[Sequence[Any]] = []
    names: list[str] = []
    for part in parts:
        result = connection.execute(part, {"at_most": query.limit + 1 - len(rows)})
        names = list(result.keys())[: -len(terms)]
        rows += result.all()
        if len(rows) > query.limit:
            break
    cursor = None
    if len(rows) > query.limit:
        rows = rows[: query.limit]
        cursor = binding.encode(canonical, list(rows[-1][len(names) :]))
    items = [dict(zip(names, row, strict=False)) for row in rows]
    return Rows(items, cursor, total, cursor and binding.link(cursor))


def _order(term: Term) -> ColumnElement[Any]:
    direction = term.column.desc() if term.descending else term.column.asc()
    return direction.nulls_last() if term.key.nullable else direction


def _after(terms: Sequence[Term], values: Sequence[Any]) -> list[ColumnElement[bool]]:
    """Return the conditions that a row comes after the one with these sort values.

    Each is one range of an index, and what meets it comes before what meets the next.
    """
    ranges: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for (_, key, descending, column), value in zip(terms, values, strict=True):
        if value is not None:
            beyond = column < value if descending else column > value
            if key.nullable and equal:
                beyond = or_(beyond, column.is_(None))
            ranges.append(and_(*equal, beyond))
        equal.append(column.is_(None) if value is None else column == value)
    (_, key, descending, first), value = terms[0], values[0]
    if value is None:
        return [and_(first.is_(None), or_(*ranges))]
    if key.nullable:
        return [and_(first == value, or_(*ranges[1:])), ranges[0], first.is_(None)]
    if key.shared:
        return [and_(first == value, or_(*ranges[1:])), ranges[0]]
    # The start says nothing new, but lets the database enter the index at the first key's value.
    start = first <= value if descending else first >= value
    return [and_(start, or_(*ranges))]
