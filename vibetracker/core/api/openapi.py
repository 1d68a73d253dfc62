"""What the shared rules document of each operation: parameters, header fields and problems."""

import inspect
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi.routing import APIRoute

from vibetracker.core.http.problems import (
    MEDIA_TYPE,
    PROBLEMS_PATH,
    Conflict,
    ContentTooLarge,
    CrossOrigin,
    InFlight,
    InternalError,
    InvalidHost,
    KeyReused,
    MalformedRequest,
    NotFound,
    PreconditionFailed,
    Problem,
    RequestTimeout,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)

REF = "#/components/schemas/{model}"
REQUEST_ID = "2f1c6b1e"

HEADERS: dict[str, dict[str, Any]] = {
    "Accept": {
        "description": "Media types that a body can have here.",
        "schema": {"type": "string", "examples": ["application/json"]},
    },
    "Accept-Encoding": {
        "description": "`identity`, where the request had a `Content-Encoding`.",
        "schema": {"type": "string", "const": "identity"},
    },
    "Accept-Patch": {
        "description": "Media types that a body can have here (RFC 5789).",
        "schema": {
            "type": "string",
            "examples": ["application/json, application/merge-patch+json"],
        },
    },
    "Cache-Control": {
        "description": "`no-cache` with an `ETag`: ask with `If-None-Match` before use.",
        "required": True,
        "schema": {"type": "string", "enum": ["no-cache", "no-store"]},
    },
    "ETag": {
        "description": 'The version of the resource, `"<version>"`; absent from a dry run.',
        "schema": {"type": "string", "pattern": '^"[1-9][0-9]*"$', "examples": ['"3"']},
    },
    "Idempotency-Replayed": {
        "description": "`true` when this is the kept answer to an earlier request with this key.",
        "schema": {"type": "string", "const": "true"},
    },
    "Link": {
        "description": 'Address of the next page, `rel="next"` (RFC 8288), while there is one.',
        "schema": {"type": "string", "examples": ['</things?cursor=WzFd>; rel="next"']},
    },
    "Location": {
        "description": "Address of the new resource.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference", "examples": ["/things/1"]},
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "schema": {"type": "integer", "minimum": 1, "examples": [1]},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 9110 11.6.1).",
        "schema": {"type": "string", "examples": ["Bearer"]},
    },
    "X-Request-ID": {
        "description": "The request's id: yours, or a new one.",
        "required": True,
        "schema": {
            "type": "string",
            "pattern": "^[A-Za-z0-9._-]{1,128}$",
            "examples": [REQUEST_ID],
        },
    },
}
"""The header fields of the answers, to which each answer that has them refers."""

EVERYWHERE = ("Cache-Control", "X-Request-ID")
"""The fields that every answer has."""

SENT_REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "Your id for this request, which finds it in the log: 1 to 128 letters, digits, "
    "`.`, `_` and `-`. Anything else counts as none, and the service makes one.",
    "schema": {"type": "string", "examples": [REQUEST_ID]},
}

IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "Go on only if the resource still has one of these versions (RFC 9110 13.1.1), "
    'such as `"3"`; `*` stands for any.',
    "schema": {"type": "string", "examples": ["*"]},
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "Answer 304 if the resource still has this version (RFC 9110 13.1.2), "
    'such as `"3"`.',
    "schema": {"type": "string", "examples": ['"3"']},
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes it safe to repeat this request: for 24 hours the same key with the same "
    "request gives the same answer, and no second effect. A dry run does not use it up.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[!-~]+$",
        "examples": ["7f3a"],
    },
}
DRY_RUN = {
    "name": "dry_run",
    "in": "query",
    "required": False,
    "description": "Answer as if, and keep nothing: 200 with the body there would be (204 where "
    "there is none), without `Location` and `ETag`.",
    "schema": {"type": "boolean", "default": False},
}

OPAQUE = {"cursor"}
"""Parameters whose values only an answer gives."""

PAGED = (
    "The answer is one page of the list; `next_cursor`, or the address in `Link`, leads to the "
    "next one. What stays as it is during such a walk is seen exactly once."
)
CONDITIONAL_READ = (
    "The `ETag` is the version. Send it as `If-None-Match` to get a 304 without a body for as long "
    "as that is the newest."
)
MERGE_PATCH = (
    "The body is a merge patch (RFC 7396): a member that is absent stays, null clears it, and an "
    "array replaces the whole one."
)
CONDITIONAL_WRITE = (
    "With `If-Match` it happens only to a version that you have seen; otherwise the answer is 412."
)
REPEATABLE = "With an `Idempotency-Key` it can be sent again, and happens once."
REHEARSED = "With `dry_run=true` it is only tried."
"""What the shared rules make of an operation, in words."""

ANYWHERE = {
    InvalidHost,
    MalformedRequest,
    ValidationFailed,
    # The three of a body, since also a GET with one is answered and not cut off.
    UnsupportedMediaType,
    ContentTooLarge,
    RequestTimeout,
    Unavailable,
    InternalError,
}
"""What every operation can answer, whatever it does."""


def document(
    route: APIRoute,
    *,
    verb: str,
    transaction: bool,
    raises: Iterable[type[Problem]],
) -> None:
    """Write into a route what follows from the shared rules: parameters, headers and problems."""
    names_resource = "{" in route.path_format
    problems = {*raises, *ANYWHERE}
    parameters: list[dict[str, Any]] = []
    headers: list[str] = []
    route.summary = route.summary or re.split(r"[:;.]", route.description, maxsplit=1)[0]
    if names_resource:
        problems.add(NotFound)
    if verb == "GET":
        if transaction and route.path_format.endswith("}"):
            parameters.append(IF_NONE_MATCH)
            headers.append("ETag")
            route.responses[304] = {"description": "Unchanged", "headers": _headers("ETag")}
    else:
        problems.add(CrossOrigin)
        if transaction:
            _document_write(route, verb, parameters, headers, problems)
    success = route.status_code or 200
    if success == 201:
        headers.append("Location")
        route.responses[200] = {
            "description": "What would have been created (dry run)",
            "content": {"application/json": {"schema": _answer_schema(route)}},
            "headers": _headers(),
        }
    if "next_cursor" in _fields(route):
        headers.append("Link")
    route.description = "\n\n".join(
        [route.description, *_rules_in_words(verb, parameters, headers)]
    )
    answer = _first_paragraph(route.response_model) if _fields(route) else "Done."
    route.responses[success] = {
        "description": answer,
        "headers": _headers(*headers),
        **route.responses.get(success, {}),
    }
    _describe_problems(route, verb, problems)
    for status, own in route.responses.items():
        route.responses[status] = {**own, "headers": {**_headers(), **own.get("headers", {})}}
    parameters.append(SENT_REQUEST_ID)
    extra = route.openapi_extra or {}
    route.openapi_extra = {**extra, "parameters": [*extra.get("parameters", []), *parameters]}


def _rules_in_words(
    verb: str, parameters: Sequence[Mapping[str, Any]], headers: Collection[str]
) -> Iterator[str]:
    """Describe in a paragraph what the shared rules make of an operation."""
    said = [
        text
        for applies, text in (
            ("Link" in headers, PAGED),
            (IF_NONE_MATCH in parameters, CONDITIONAL_READ),
            (verb == "PATCH", MERGE_PATCH),
            (IF_MATCH in parameters, CONDITIONAL_WRITE),
            (IDEMPOTENCY_KEY in parameters, REPEATABLE),
            (DRY_RUN in parameters, REHEARSED),
        )
        if applies
    ]
    if said:
        yield " ".join(said)


def _document_write(
    route: APIRoute,
    verb: str,
    parameters: list[dict[str, Any]],
    headers: list[str],
    problems: set[type[Problem]],
) -> None:
    parameters.append(DRY_RUN)
    problems.add(Conflict)
    if "{" in route.path_format:
        parameters.append(IF_MATCH)
        problems.add(PreconditionFailed)
    if "version" in _fields(route):
        headers.append("ETag")
    if verb == "POST":
        parameters.append(IDEMPOTENCY_KEY)
        problems |= {InFlight, KeyReused}
        headers.append("Idempotency-Replayed")


def _headers(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *EVERYWHERE)}


def unauthorized() -> dict[str, Any]:
    """Return the response of an operation that is secured, without what it asks for."""
    return {
        "description": "Not authenticated",
        "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}},
        "headers": _headers("WWW-Authenticate"),
    }


def _answer_schema(route: APIRoute) -> dict[str, str]:
    return {"$ref": REF.format(model=route.response_model.__name__)}


def _fields(route: APIRoute) -> Collection[str]:
    fields: dict[str, object] = getattr(route.response_model, "model_fields", {})
    return fields


def _first_paragraph(documented: type) -> str:
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def _describe_problems(route: APIRoute, verb: str, problems: Iterable[type[Problem]]) -> None:
    by_status: defaultdict[int, list[type[Problem]]] = defaultdict(list)
    for problem in sorted(problems, key=lambda problem: problem.slug):
        by_status[problem.status].append(problem)
    for status, kinds in sorted(by_status.items()):
        headers = {name for kind in kinds for name in _headers_of(kind, verb)}
        own = route.responses.get(int(status), {})
        route.responses[int(status)] = {
            "description": "; ".join(kind.title for kind in kinds),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": REF.format(model="Problem")},
                    "examples": {kind.slug: _example(route, kind) for kind in kinds},
                }
            },
            "headers": _headers(*sorted(headers)),
            **own,
        }


def _headers_of(problem: type[Problem], verb: str) -> tuple[str, ...]:
    if problem in {Unavailable, InFlight}:
        return ("Retry-After",)
    if problem is PreconditionFailed:
        return ("ETag",)
    if problem is UnsupportedMediaType:
        accepted = {"PATCH": ("Accept-Patch",), "GET": ()}.get(verb, ("Accept",))
        return (*accepted, "Accept-Encoding")
    return ()


def _example(route: APIRoute, kind: type[Problem]) -> dict[str, Any]:
    value: dict[str, Any] = {
        "type": f"{PROBLEMS_PATH}/{kind.slug}",
        "title": kind.title,
        "status": kind.status.value,
        "detail": _first_paragraph(kind),
        "instance": route.path_format,
        "request_id": REQUEST_ID,
    }
    if kind is ValidationFailed:
        detail = "Unknown parameter; nothing that is sent is ignored"
        value["errors"] = [
            {"parameter": "colour", "code": "extra_forbidden", "detail": detail},
        ]
    return {"summary": kind.title, "value": value}


def problems_of(operation: dict[str, Any]) -> set[str]:
    """Return the slugs of the problems that an operation of the document can answer."""
    return {
        slug
        for response in operation["responses"].values()
        for slug in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", ())
    }
