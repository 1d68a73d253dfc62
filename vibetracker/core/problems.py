"""Errors as RFC 9457 problem details: their types, and how each is rendered."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, NotRequired, TypedDict
from urllib.parse import quote

from pydantic import MISSING, BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import Scope

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 50


class Fault(TypedDict):
    """One broken rule; exactly one of the three places says where.

    ``pointer`` is an RFC 6901 pointer into the body, ``parameter`` names a path or query
    parameter, ``header`` a header field.
    """

    pointer: NotRequired[str]
    parameter: NotRequired[str]
    header: NotRequired[str]
    code: str
    detail: str


class FaultRead(BaseModel):
    """One broken rule of a request."""

    model_config = ConfigDict(title="Fault")

    pointer: str | MISSING = Field(
        MISSING,
        description="RFC 6901 pointer into the request body; the empty string is all of it.",
    )
    parameter: str | MISSING = Field(MISSING, description="Name of the path or query parameter.")
    header: str | MISSING = Field(MISSING, description="Name of the header field.")
    code: str = Field(description="Stable, machine-readable name of the rule.")
    detail: str = Field(description="What is wrong and what is expected, for people.")


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
    errors: list[FaultRead] | MISSING = Field(
        MISSING, description="Every broken rule; on validation errors only."
    )


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem, not an error
    """An error that the client is told about.

    A subclass is a problem type: its ``slug`` and ``title`` never change once published, and its
    docstring is the explanation that ``GET /problems/<slug>`` gives. ``headers`` are added to the
    response, ``extensions`` are further members of the body (RFC 9457 section 3.2).
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[HTTPStatus]
    types: ClassVar[dict[str, "type[Problem]"]] = {}

    def __init_subclass__(cls) -> None:
        """Register the type; ``ValueError`` when another one has its slug."""
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
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.extensions = extensions


class MalformedRequest(Problem):
    """The request cannot be read at all.

    Its body is not JSON in UTF-8 (RFC 8259; `NaN` and `Infinity` are no JSON), or its query
    string is not percent-encoded UTF-8.
    """

    slug = "malformed-request"
    title = "The request cannot be read"
    status = HTTPStatus.BAD_REQUEST


class InvalidHost(Problem):
    """The `Host` header is missing or names a host that this service does not answer to."""

    slug = "invalid-host"
    title = "Unknown host"
    status = HTTPStatus.BAD_REQUEST


class CrossOrigin(Problem):
    """A web page of another origin tried to change something.

    There is no login that could tell a wanted request from an unwanted one, so pages of other
    origins may only write when the operator lists their origin in `CORS_ORIGINS`.
    """

    slug = "cross-origin"
    title = "Writing from another origin is not allowed"
    status = HTTPStatus.FORBIDDEN


class NotFound(Problem):
    """Nothing is at this address: no such path, or no resource with this id."""

    slug = "not-found"
    title = "Not found"
    status = HTTPStatus.NOT_FOUND


class MethodNotAllowed(Problem):
    """The address exists but does not take this method; `Allow` lists those it takes."""

    slug = "method-not-allowed"
    title = "Method not allowed"
    status = HTTPStatus.METHOD_NOT_ALLOWED


class RequestTimeout(Problem):
    """The request did not arrive in full within the time the service waits for one."""

    slug = "request-timeout"
    title = "The request took too long to arrive"
    status = HTTPStatus.REQUEST_TIMEOUT


class Conflict(Problem):
    """The request contradicts what is stored; change the request or the stored state first."""

    slug = "conflict"
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

    slug = "gone"
    title = "In the trash"
    status = HTTPStatus.GONE


class PreconditionFailed(Problem):
    """`If-Match` names another version than the current one, which `ETag` tells.

    Read the resource again, redo the change on what you find, and send the new version.
    """

    slug = "precondition-failed"
    title = "The resource has changed"
    status = HTTPStatus.PRECONDITION_FAILED


class ContentTooLarge(Problem):
    """The body is larger than the service accepts."""

    slug = "content-too-large"
    title = "The body is too large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class HeadTooLarge(Problem):
    """The first line and the header fields of the request are larger than the service accepts."""

    slug = "head-too-large"
    title = "The head of the request is too large"
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class UnsupportedMediaType(Problem):
    """The body is not `application/json` (a PATCH may say `application/merge-patch+json`).

    A `Content-Encoding` is not supported either; `Accept-Encoding` says so.
    """

    slug = "unsupported-media-type"
    title = "Unsupported media type"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class ValidationFailed(Problem):
    """The request breaks at least one rule of this operation; `errors` lists them.

    Nothing was changed. Unknown parameters and members count as broken rules, since nothing that
    a client sends is ever ignored.
    """

    slug = "validation-failed"
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

    slug = "internal-error"
    title = "Internal error"
    status = HTTPStatus.INTERNAL_SERVER_ERROR


class Unavailable(Problem):
    """The database is down, unreachable, overloaded or not yet ready.

    A write that is answered so usually had no effect; when the connection broke while it was
    being confirmed it may have had. Repeat it after `Retry-After` seconds, a POST with the same
    `Idempotency-Key`.
    """

    slug = "unavailable"
    title = "Temporarily unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str, *, retry_after: int = 1, **extensions: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **extensions)


PROBLEMS_PATH = "/problems"


def invalid(
    detail: str,
    *,
    code: str,
    pointer: str | None = None,
    parameter: str | None = None,
    header: str | None = None,
) -> ValidationFailed:
    """Make the problem for one broken rule that validation by type cannot see."""
    fault = Fault(code=code, detail=detail)
    if pointer is not None:
        fault["pointer"] = pointer
    if parameter is not None:
        fault["parameter"] = parameter
    if header is not None:
        fault["header"] = header
    return ValidationFailed(detail, errors=[fault])


def pointer_to(*steps: object) -> str:
    """Write an RFC 6901 JSON pointer."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def faults(errors: Iterable[Mapping[str, Any]], body: object = None) -> list[Fault]:
    """Translate Pydantic's errors, leaving out the input that they carry.

    Pydantic's locations also name the members of unions; a pointer into the ``body`` does not.
    """
    result: list[Fault] = []
    for error in errors:
        place, *steps = error["loc"]
        detail = str(error["msg"]).removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            detail = "Unknown or read-only; nothing that is sent is ignored"
        elif error["type"] == "union_tag_invalid":
            # The only message of Pydantic's that quotes what was sent.
            detail = f"Expected one of {error['ctx']['expected_tags']}"
            steps.append(error["ctx"]["discriminator"].strip("'"))
        fault = Fault(code=error["type"], detail=detail)
        if place == "body":
            fault["pointer"] = pointer_to(*_path(steps, body))
        elif place == "header":
            fault["header"] = str(steps[0])
        else:
            fault["parameter"] = str(steps[0])
        result.append(fault)
    return result


def _path(steps: Sequence[int | str], body: object) -> list[int | str]:
    path: list[int | str] = []
    here = body
    for index, step in enumerate(steps):
        if isinstance(here, dict) and isinstance(step, str):
            if step not in here and index < len(steps) - 1:
                continue
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
        else:
            break
        path.append(step)
    return path


def render(problem: Problem, scope: Scope) -> Response:
    """Make the response for a problem; the text is safe whatever the client sent."""
    content: dict[str, object] = {
        "type": f"{PROBLEMS_PATH}/{problem.slug}",
        "title": problem.title,
        "status": problem.status.value,
        "detail": problem.detail,
        "instance": quote(scope["path"], errors="replace"),
        "request_id": scope["state"]["request_id"],
        **problem.extensions,
    }
    if problem.errors:
        content["errors"] = problem.errors[:MAX_ERRORS]
    return Response(
        json.dumps(content, ensure_ascii=False).encode("utf-8", errors="replace"),
        problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )
