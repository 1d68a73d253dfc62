"""What the shared rules document of each operation: parameters, header fields and problems."""

import inspect
import re
import tomllib
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from fastapi.routing import APIRoute

from vibetracker.core.api.fields import answer_in, schema_of
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


def document(
    route: APIRoute, *, verb: str, transaction: bool, raises: Iterable[type[Problem]]
) -> None:
    """Write into a route what follows from the shared rules: parameters, headers and problems."""
    members: dict[str, object] = getattr(route.response_model, "model_fields", {})
    added = _Added({*raises, *ANYWHERE}, {}, [])
    if "{" in route.path_format:
        added.kinds.add(problems.NotFound)
    if verb == "GET" and transaction:
        _document_read(route, added)
    if verb != "GET":
        added.kinds.add(problems.CrossOrigin)
        if transaction:
            _document_write(route, verb, added)
    success = route.status_code or 200
    if success == 201:
        added.headers.append("Location")
        schema = {"$ref": REF.format(model=route.response_model.__name__)}
        route.responses[200] = {
            "description": "What would have been created (dry run)",
            "content": {"application/json": {"schema": schema}},
        }
    if "next_cursor" in members:
        added.headers.append("Link")
    said = _first_paragraph(route.response_model) if members else "Done."
    _add(route, success, {"description": said, "headers": _headers(*added.headers)})
    by_status = sorted(added.kinds, key=lambda kind: (kind.status, kind.slug))
    for status, kinds in groupby(by_status, attrgetter("status")):
        _add(route, int(status), _response(route, verb, list(kinds)))
    for response in route.responses.values():
        response["headers"] = _headers() | response.get("headers", {})
    applying = {verb, *added.parameters, *added.headers}
    rules = " ".join(text for name, text in RULES.items() if name in applying)
    route.summary = route.summary or re.split(r"[:;.]", route.description, maxsplit=1)[0]
    route.description = f"{route.description}\n\n{rules}".strip()
    parameters = [
        {"name": name, "required": False, **PARAMETERS[name], **said}
        for name, said in (*added.parameters.items(), ("X-Request-ID", {}))
    ]
    extra = route.openapi_extra or {}
    route.openapi_extra = {**extra, "parameters": [*extra.get("parameters", []), *parameters]}


class _Added(NamedTuple):
    """What the shared rules add to an operation."""

    kinds: set[type[Problem]]
    parameters: dict[str, dict[str, Any]]
    """By name what is said of each beyond what is said everywhere."""
    headers: list[str]


def _document_read(route: APIRoute, added: _Added) -> None:
    if route.path_format.endswith("}"):
        added.parameters["If-None-Match"] = {}
        added.headers.append("ETag")
        route.responses[304] = {"description": "Unchanged", "headers": _headers("ETag")}
    if answer := answer_in(route.response_model):
        added.parameters["fields"] = {"schema": schema_of(answer)}


def _document_write(route: APIRoute, verb: str, added: _Added) -> None:
    added.parameters["dry_run"] = {}
    added.kinds.add(problems.Conflict)
    if "{" in route.path_format:
        added.parameters["If-Match"] = {}
        added.kinds.add(problems.PreconditionFailed)
    if "version" in getattr(route.response_model, "model_fields", {}):
        added.headers.append("ETag")
    if verb == "POST":
        added.parameters["Idempotency-Key"] = {}
        added.headers.append("Idempotency-Replayed")
        added.kinds.update({problems.InFlight, problems.KeyReused})


def _add(route: APIRoute, status: int, response: dict[str, Any]) -> None:
    """Add a response; what the route itself says of it stands above that."""
    route.responses[status] = response | route.responses.get(status, {})


def _headers(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *EVERYWHERE)}


def _first_paragraph(documented: type) -> str:
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def _response(route: APIRoute, verb: str, kinds: list[type[Problem]]) -> dict[str, Any]:
    """Return what is documented of the problems of one status."""
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


def problems_of(operation: dict[str, Any]) -> set[str]:
    """Return the slugs of the problems that an operation of the document can answer."""
    return {
        slug
        for response in operation["responses"].values()
        for slug in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", ())
    }
