"""What the shared rules document of each operation: parameters, header fields and problems."""

import inspect
import re
import tomllib
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute
from starlette.responses import Response

from vibetracker.core.api.fields import answer_of, item_of, schema_of
from vibetracker.core.http import problems
from vibetracker.core.http.problems import MEDIA_TYPE, PROBLEMS_PATH, Problem

_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
HEADERS: dict[str, dict[str, Any]] = _TEXTS["headers"]
"""The header fields of the answers, to which each answer that has them refers."""
PARAMETERS: dict[str, dict[str, Any]] = _TEXTS["parameters"]
RULES: dict[str, str] = _TEXTS["rules"]
MEMBERS: dict[str, str] = _TEXTS["members"]

REF = "#/components/schemas/{model}"
EVERYWHERE = ("Cache-Control", "X-Request-ID")
"""The fields that every answer has."""

ANYWHERE = {
    problems.InvalidHost,
    problems.MalformedRequest,
    problems.ValidationFailed,
    # The three of a body, since also a GET with one is answered and not cut off.
    problems.UnsupportedMediaType,
    problems.ContentTooLarge,
    problems.RequestTimeout,
    problems.Unavailable,
    problems.InternalError,
}
"""What every operation can answer, whatever it does."""
POST = ["Idempotency-Key", "Idempotency-Replayed"]


def document(
    route: APIRoute,
    *,
    verb: str,
    reads: bool,
    transaction: bool,
    has_etag: bool,
    raises: Iterable[type[Problem]],
) -> None:
    """Write into a route what follows from the shared rules: parameters, headers and problems."""
    members: dict[str, object] = getattr(route.response_model, "model_fields", {})
    # A class of responses has a status of its own, which FastAPI documents.
    class_: Any = route.response_class if isinstance(route.response_class, type) else Response
    success = route.status_code or inspect.signature(class_).parameters["status_code"].default
    below, writes = "{" in route.path_format, transaction and not reads
    answer = answer_of(route) if reads else None
    own = {"fields": {"schema": schema_of(answer)}} if answer else {}
    kinds: set[type[Problem]] = {*raises, *ANYWHERE}
    applying: list[str] = []
    for applies, names, raised in (
        (below, [], [problems.NotFound]),
        (has_etag, ["ETag"], []),
        (reads and has_etag, ["If-None-Match"], []),
        (answer, ["fields"], []),
        (not reads, [], [problems.CrossOrigin]),
        (writes, ["dry_run"], [problems.Conflict]),
        (writes and below, ["If-Match"], [problems.PreconditionFailed]),
        (writes and verb == "POST", POST, [problems.InFlight, problems.KeyReused]),
        (success == 201 or 300 <= success < 400, ["Location"], []),
        (item_of(route.response_model), ["Link"], []),
    ):
        if applies:
            applying += names
            kinds.update(raised)
    if reads and has_etag:
        route.responses[304] = {"description": "Unchanged", "headers": _headers("ETag")}
    if success == 201:
        route.responses[200] = {"description": "What would have been created (dry run)"}
    said = _first_paragraph(route.response_model) if members else "Done."
    if route.response_description != "Successful Response":
        said = route.response_description
    fields = _headers(*(name for name in applying if name in HEADERS))
    _add(route, success, {"description": said, "headers": fields})
    by_status = sorted(kinds, key=lambda kind: (kind.status, kind.slug))
    for status, some in groupby(by_status, attrgetter("status")):
        _add(route, int(status), _response(route, verb, list(some)))
    for response in route.responses.values():
        response["headers"] = _headers() | response.get("headers", {})
    rules = " ".join(text for name, text in RULES.items() if name in {verb, *applying})
    route.summary = route.summary or re.split(r"[:;.]", route.description, maxsplit=1)[0]
    route.description = f"{route.description}\n\n{rules}".strip()
    parameters = [
        {"name": name, "required": False, **PARAMETERS[name], **own.get(name, {})}
        for name in (*applying, "X-Request-ID")
        if name in PARAMETERS
    ]
    extra = route.openapi_extra or {}
    route.openapi_extra = {**extra, "parameters": [*extra.get("parameters", []), *parameters]}


def _add(route: APIRoute, status: int, response: dict[str, Any]) -> None:
    """Add a response; what the route itself says of it stands above that."""
    route.responses[status] = response | route.responses.get(status, {})


def _headers(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *EVERYWHERE)}


def _first_paragraph(documented: type) -> str:
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def _response(route: APIRoute, verb: str, kinds: list[type[Problem]]) -> dict[str, Any]:
    content = {
        "schema": {"$ref": REF.format(model="Problem")},
        "examples": {kind.slug: _example(route, kind) for kind in kinds},
    }
    headers = {name for kind in kinds for name in _headers_of(kind, verb)}
    return {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {MEDIA_TYPE: content},
        "headers": _headers(*sorted(headers)),
    }


def _headers_of(kind: type[Problem], verb: str) -> tuple[str, ...]:
    if kind in {problems.Unavailable, problems.InFlight}:
        return ("Retry-After",)
    if kind is problems.PreconditionFailed:
        return ("ETag",)
    if kind is problems.UnsupportedMediaType:
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
        "request_id": HEADERS["X-Request-ID"]["schema"]["examples"][0],
    }
    if kind is problems.ValidationFailed:
        detail = "Unknown parameter; nothing that is sent is ignored"
        value["errors"] = [{"parameter": "colour", "code": "extra_forbidden", "detail": detail}]
    return {"summary": kind.title, "value": value}


def unauthorized() -> dict[str, Any]:
    """Return the response of an operation that is secured, without what it asks for."""
    return {
        "description": "Not authenticated",
        "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}},
        "headers": _headers("WWW-Authenticate"),
    }
