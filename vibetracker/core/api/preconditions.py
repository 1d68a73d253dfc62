"""Conditional requests on a resource's ``version`` (RFC 9110 section 13.1)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

from sqlalchemy import Select, bindparam, inspect, select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request

from vibetracker.core.api.fields import Fields, narrowed
from vibetracker.core.api.schema import Members, Output
from vibetracker.core.db.model import Resource, has_trash, noun
from vibetracker.core.http.boundary import SAFE_METHODS
from vibetracker.core.http.problems import Gone, NotFound, PreconditionFailed, Problem

REVALIDATED = "no-cache, no-transform"
"""The ``Cache-Control`` of what has an ``ETag``: a proxy that compresses would weaken that."""
ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
ENTITY_TAGS = re.compile(rf"(?:[ \t,]*{ENTITY_TAG}[ \t]*(?:,|$))+[ \t,]*")
"""The list of a field value; its empty members count for nothing (RFC 9110 5.6.1)."""


@dataclass(slots=True)
class Preconditions:
    """What a request demands of the resource that its path names.

    Its session has them in ``info``, where ``find`` and ``read`` meet them.
    """

    writes: bool
    tags: str | None
    """``If-Match`` of a request that writes, ``If-None-Match`` of one that reads."""
    are_checked: bool = False

    @classmethod
    def of(cls, request: Request, *, may_be_unchanged: bool) -> "Preconditions":
        """Read the header field; several lines of one field are one list (RFC 9110 5.3)."""
        writes = request.method not in SAFE_METHODS
        lines = request.headers.getlist("if-match" if writes else "if-none-match")
        applies = lines and (request.path_params if writes else may_be_unchanged)
        return cls(writes, ",".join(lines) if applies else None)

    def refuse_unchecked(self) -> None:
        """Raise ``TypeError`` where the version that a request demands was compared with none."""
        if self.tags is not None and not self.are_checked:
            raise TypeError("find the row that the path names by find(), or check() its version")

    def check(self, version: int | str) -> None:
        """Raise ``PreconditionFailed``, or the 304 of RFC 9110, when the version demands it."""
        self.are_checked = True
        if self.tags is None:
            return
        etag = f'"{version}"'
        matches = self.tags.strip() == "*"
        if not matches and ENTITY_TAGS.fullmatch(self.tags):
            # Only reading compares weakly (RFC 9110 8.8.3.2).
            tags = re.findall(ENTITY_TAG, self.tags)
            matches = etag in tags or (not self.writes and f"W/{etag}" in tags)
        if self.writes and not matches:
            raise PreconditionFailed(f"The current version is {version}", headers={"ETag": etag})
        if matches and not self.writes:
            headers = {"ETag": etag, "Cache-Control": REVALIDATED}
            raise HTTPException(HTTPStatus.NOT_MODIFIED, headers=headers)


def check(session: Session, version: int | str) -> None:
    """Meet the demands of the request on the resource that its path names.

    With ``fields`` there are none, since what is read then has no ``ETag``.
    """
    if session.info.get(Fields):
        return
    preconditions: Preconditions = session.info[Preconditions]
    preconditions.check(version)


def find[R: Resource](session: Session, model: type[R], resource_id: int) -> R:
    """Return the row that the path names, locked until the end where the request writes.

    Raises ``NotFound``, ``Gone`` for one in the trash, and what the request's preconditions demand.
    """
    row = find_any(session, model, resource_id)
    check(session, row.version)
    return row


def find_any[R: Resource](session: Session, model: type[R], resource_id: int) -> R:
    """Return a row as ``find`` does, whatever the preconditions say."""
    preconditions: Preconditions = session.info[Preconditions]
    if preconditions.writes:
        lock_rows(session, model, [resource_id])
    fresh = {"populate_existing": preconditions.writes}
    row: R | None = session.scalar(_live(model), {"id": resource_id}, execution_options=fresh)
    if row is None:
        raise _missing(session, model, resource_id)
    return row


def lock_rows(session: Session, model: type[Resource], ids: Iterable[int]) -> None:
    """Lock rows until the transaction ends, in the order of their ids.

    So that nobody waits in a circle. What is read of them afterwards is what they are now, also in
    other tables: a statement that waits for the lock itself would have looked at those before.
    """
    some = select(model.id).where(model.id.in_(ids)).order_by(model.id)
    session.execute(some.with_for_update())


def read(
    session: Session, output: type[Output], model: type[Resource], resource_id: int
) -> dict[str, Any]:
    """Return the members of the answer for the row that the path names, read as columns.

    Raises ``NotFound``, ``Gone`` for one in the trash, and what the request's preconditions demand.
    """
    answer = read_any(session, output, model, resource_id)
    check(session, answer["version"])
    return answer


def read_any(
    session: Session, output: type[Output], model: type[Resource], resource_id: int, *needed: str
) -> dict[str, Any]:
    """Return an answer as ``read`` does, whatever the preconditions say.

    The members that are ``needed`` are read also where the request does not ask for them.
    """
    session.flush()
    statement = narrowed(session, _by_id(output, model), "version", *needed)
    row = session.connection().execute(statement, {"id": resource_id}).mappings().first()
    if row is None:
        raise _missing(session, model, resource_id)
    return Members(row)


@cache
def _by_id(output: type[Output], model: type[Resource]) -> Select[*tuple[Any, ...]]:
    """Build the statement once: SQLAlchemy looks its SQL up by the statement's identity."""
    table = inspect(model).local_table
    return output.select(model).where(table.c.id == bindparam("id"), model.live())


@cache
def _live[R: Resource](model: type[R]) -> Select[R]:
    return select(model).where(model.id == bindparam("id"), model.live())


def _missing(session: Session, model: type[Resource], resource_id: int) -> Problem:
    if has_trash(model) and session.get(model, resource_id) is not None:
        return Gone(
            f"The {noun(model)} with id {resource_id} is in the trash, or what it belongs to is"
        )
    return NotFound(f"There is no {noun(model)} with id {resource_id}")
