"""Errors as RFC 9457 problem details: their types, and how each is rendered."""

import http.client
import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Unpack
from urllib.parse import quote

from pydantic import MISSING, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from vibetracker.core.http.faults import Fault, Place

MEDIA_TYPE = "application/problem+json"
PROBLEMS_PATH = "/problems"
MAX_ERRORS = 50
BODILESS = {204, 304}
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""The names of RFC 9110 where Python has older ones."""


class ProblemRead(BaseModel):
    """Problem details (RFC 9457): the body of every error."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str = Field(
        description="What kind of problem, out of those that `GET /problems` explains. Others may "
        "be added.",
        json_schema_extra={"format": "uri-reference"},
    )
    title: str = Field(description="The kind of problem in a few words, the same every time.")
    status: int = Field(description="The HTTP status code.")
    detail: str = Field(description="What happened this time, for people.")
    instance: str = Field(description="Path of the request.")
    request_id: str = Field(description="Value of `X-Request-ID`; finds the request in the logs.")
    errors: list[Fault] | MISSING = Field(
        MISSING, description="The broken rules, the first 50; on validation errors only."
    )


class Problem(HTTPException):  # RFC 9457 calls it a problem, not an error
    """An ``HTTPException`` with a documented type.

    A subclass is a problem type, and its docstring the explanation that ``GET /problems/<slug>``
    returns. Its ``slug``, which follows from its name unless it has another one, and its ``title``
    never change once published. ``headers`` are added to the response, ``extensions`` are further
    members of the body (RFC 9457 section 3.2).
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[HTTPStatus]
    types: ClassVar[dict[str, "type[Problem]"]] = {}

    def __init_subclass__(cls) -> None:
        """Register the type; ``ValueError`` when another one has its slug."""
        if "slug" not in vars(cls):
            cls.slug = re.sub("(?<!^)(?=[A-Z])", "-", cls.__name__).lower()
        if Problem.types.setdefault(cls.slug, cls) is not cls:
            raise ValueError(f"{cls.__qualname__}: the problem slug {cls.slug!r} is taken")

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        **extensions: object,
    ) -> None:
        super().__init__(self.status, detail, headers)
        self.errors = errors
        self.extensions = extensions


class MalformedRequest(Problem):
    """The request cannot be read at all.

    Its body is not JSON in UTF-8 (RFC 8259; `NaN` and `Infinity` are no JSON), or its query
    string is not percent-encoded UTF-8.
    """

    title = "The request cannot be read"
    status = HTTPStatus.BAD_REQUEST


class InvalidHost(Problem):
    """The `Host` header is missing or names a host that this service does not answer to."""

    title = "Unknown host"
    status = HTTPStatus.BAD_REQUEST


class CrossOrigin(Problem):
    """A web page of another origin tried to change something.

    There is no login that could tell a wanted request from an unwanted one, so pages of other
    origins may only write when the operator lists their origin in `CORS_ORIGINS`.
    """

    title = "Writing from another origin is not allowed"
    status = HTTPStatus.FORBIDDEN


class NotFound(Problem):
    """Nothing is at this address: no such path, or no resource with this id."""

    title = "Not found"
    status = HTTPStatus.NOT_FOUND


class MethodNotAllowed(Problem):
    """The address exists but does not take this method; `Allow` lists those it takes."""

    title = "Method not allowed"
    status = HTTPStatus.METHOD_NOT_ALLOWED


class RequestTimeout(Problem):
    """The request did not arrive in full within the time the service waits for one."""

    title = "The request took too long to arrive"
    status = HTTPStatus.REQUEST_TIMEOUT


class Conflict(Problem):
    """The request contradicts what is stored; change the request or the stored state first."""

    title = "Conflict with the stored state"
    status = HTTPStatus.CONFLICT


class InFlight(Problem):
    """Another request with the same `Idempotency-Key` is still being worked on.

    Try again after `Retry-After` seconds: the answer is then the one of that request.
    """

    slug = "idempotency-key-in-flight"
    title = "A request with this idempotency key is in progress"
    status = HTTPStatus.CONFLICT


class Gone(Problem):
    """The resource has been put into the trash; it can be restored until it is purged."""

    title = "In the trash"
    status = HTTPStatus.GONE


class PreconditionFailed(Problem):
    """`If-Match` names another version than the current one, which is in `ETag`.

    Read the resource again, redo the change on what you find, and send the new version.
    """

    title = "The resource has changed"
    status = HTTPStatus.PRECONDITION_FAILED


class ContentTooLarge(Problem):
    """The body is larger than the service accepts."""

    title = "The body is too large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UnsupportedMediaType(Problem):
    """The body is not `application/json` (a PATCH may say `application/merge-patch+json`).

    A `Content-Encoding` is not supported either; `Accept-Encoding` says so.
    """

    title = "Unsupported media type"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class ValidationFailed(Problem):
    """The request breaks at least one rule of this operation; `errors` lists them.

    Nothing was changed. Unknown parameters and members count as broken rules, since nothing that
    a client sends is ever ignored.
    """

    title = "The request breaks a rule"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class KeyReused(Problem):
    """The `Idempotency-Key` belongs to another request of the last 24 hours.

    A key stands for one request: same method, address, query and body. Use a new key.
    """

    slug = "idempotency-key-reused"
    title = "The idempotency key belongs to another request"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class InternalError(Problem):
    """A fault of the service; its cause is in the log under the `request_id`."""

    title = "Internal error"
    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self) -> None:
        super().__init__("The service failed; its log has the cause under this request id")


class Unavailable(Problem):
    """The database is down, unreachable, overloaded or not yet ready.

    A write that is answered so usually had no effect; when the connection broke while it was
    being confirmed it may have had. Repeat it after `Retry-After` seconds, a POST with the same
    `Idempotency-Key`.
    """

    title = "Temporarily unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str, *, retry_after: int = 1, **extensions: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **extensions)


def invalid(detail: str, *, code: str, **place: Unpack[Place]) -> ValidationFailed:
    """Make the problem for one broken rule that validation by type cannot see."""
    return ValidationFailed(detail, errors=[Fault(code=code, detail=detail, **place)])


def render(error: HTTPException, scope: Scope) -> Response:
    """Return the response for an error; the text is safe whatever the client sent.

    An ``HTTPException`` without a type of its own has ``about:blank`` (RFC 9457 section 4.2.1).
    """
    status = error.status_code
    detail: object = error.detail
    if status in BODILESS:
        return Response(status_code=status, headers=error.headers)
    content: dict[str, object] = {
        "type": "about:blank",
        "title": TITLES.get(status) or http.client.responses.get(status, "Error"),
        "status": status,
        "detail": detail if isinstance(detail, str) else json.dumps(detail, default=str),
        "instance": quote(scope["path"], errors="replace"),
        "request_id": scope["state"]["request_id"],
    }
    if isinstance(error, Problem):
        content |= {"type": f"{PROBLEMS_PATH}/{error.slug}", "title": error.title}
        content |= error.extensions
        if error.errors:
            content["errors"] = error.errors[:MAX_ERRORS]
    return Response(
        json.dumps(content, ensure_ascii=False).encode("utf-8", errors="replace"),
        status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )
