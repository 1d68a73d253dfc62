"""Conditional requests on a resource's ``version`` (RFC 9110 section 13.1)."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import bindparam
from starlette.requests import Request

from vibetracker.core.database import SAFE_METHODS
from vibetracker.core.model import Resource, noun
from vibetracker.core.problems import NotFound, PreconditionFailed
from vibetracker.core.schema import Output
from vibetracker.core.session import Session
from vibetracker.core.statements import Kept

ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
ENTITY_TAGS = re.compile(rf"(?:[ \t,]*{ENTITY_TAG}[ \t]*(?:,|$))+[ \t,]*")
"""The list of a field value; its empty members count for nothing (RFC 9110 5.6.1)."""


class NotModified(Exception):  # noqa: N818 - it answers 304, which is no error
    """The client already has the current representation."""

    def __init__(self, etag: str) -> None:
        super().__init__(etag)
        self.etag = etag


@dataclass(slots=True)
class Preconditions:
    """What a request demands of the resource that its path names."""

    writes: bool
    if_match: str | None = None
    if_none_match: str | None = None

    @classmethod
    def of(cls, request: Request) -> "Preconditions":
        """Read the header fields; several lines of one field are one list (RFC 9110 5.3)."""
        writes = request.method not in SAFE_METHODS
        field = "if-match" if writes else "if-none-match"
        lines = request.headers.getlist(field)
        value = ",".join(lines) if lines else None
        if writes:
            return cls(writes, if_match=value)
        return cls(writes, if_none_match=value)

    def check(self, version: int) -> None:
        """Raise ``PreconditionFailed`` or ``NotModified`` when the version demands it."""
        etag = f'"{version}"'
        if self.if_match is not None and not _matches(self.if_match, etag, weakly=False):
            raise PreconditionFailed(f"The current version is {version}", headers={"ETag": etag})
        if self.if_none_match is not None and _matches(self.if_none_match, etag, weakly=True):
            raise NotModified(etag)


def _matches(field: str, etag: str, *, weakly: bool) -> bool:
    if field.strip() == "*":
        return True
    if not ENTITY_TAGS.fullmatch(field):
        return False
    tags = re.findall(ENTITY_TAG, field)
    return etag in tags or (weakly and f"W/{etag}" in tags)


def guard(session: Session, preconditions: Preconditions) -> None:
    """Hand the demands of a request to its session, where ``find`` meets them."""
    session.info[Preconditions] = preconditions


def check(session: Session, version: int) -> None:
    """Meet the demands of the request on the resource that its path names."""
    preconditions: Preconditions = session.info[Preconditions]
    preconditions.check(version)


def find[R: Resource](session: Session, model: type[R], resource_id: int) -> R:
    """Find the resource that the path names, locked until the end where the request writes.

    What is changed of it is written by the session. Raises ``NotFound``, and what the request's
    preconditions demand.
    """
    resource = find_any(session, model, resource_id)
    check(session, resource.version)
    return resource


def read(
    session: Session, output: type[Output], model: type[Resource], resource_id: int
) -> dict[str, Any]:
    """Read the resource that the path names as its answer, without making an object of it.

    Raises ``NotFound``, and what the request's preconditions demand.
    """
    answer = read_any(session, output, model, resource_id)
    check(session, answer["version"])
    return answer


def read_any(
    session: Session, output: type[Output], model: type[Resource], resource_id: int
) -> dict[str, Any]:
    """Read a resource as ``read`` does, whatever the preconditions say."""
    rows = _by_id(output, model).rows(session.connection(), {"id": resource_id})
    if not rows:
        raise _not_found(model, resource_id)
    return dict(zip(output.sources(), rows[0], strict=True))


@cache
def _by_id(output: type[Output], model: type[Resource]) -> Kept:
    return Kept(output.select(model).where(model.id == bindparam("id")))


def _not_found(model: type[Resource], resource_id: int) -> NotFound:
    return NotFound(f"There is no {noun(model)} with id {resource_id}")


def find_any[R: Resource](session: Session, model: type[R], resource_id: int) -> R:
    """Find a resource as ``find`` does, whatever the preconditions say."""
    preconditions: Preconditions = session.info[Preconditions]
    resource = session.find(model, resource_id, locked=preconditions.writes)
    if resource is None:
        raise _not_found(model, resource_id)
    return resource
