"""The OpenAPI document: what every operation shares is written into it once, from the rules."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from vibetracker.core.problems import (
    MEDIA_TYPE,
    PROBLEMS_PATH,
    Conflict,
    ContentTooLarge,
    CrossOrigin,
    FaultRead,
    InFlight,
    InternalError,
    InvalidHost,
    KeyReused,
    MalformedRequest,
    NotFound,
    PreconditionFailed,
    Problem,
    ProblemRead,
    RequestTimeout,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)

REF = "#/components/schemas/{model}"

ETAG = {
    "description": 'The version of the resource, `"<version>"`; absent from a dry run.',
    "schema": {"type": "string", "pattern": '^"[1-9][0-9]*"$'},
}
LOCATION = {
    "description": "Address of the new resource.",
    "schema": {"type": "string", "format": "uri-reference"},
}
LINK = {
    "description": 'Address of the next page, `rel="next"` (RFC 8288), while there is one.',
    "schema": {"type": "string"},
}
REPLAYED = {
    "description": "`true` when this is the kept answer to an earlier request with this key.",
    "schema": {"type": "string", "const": "true"},
}
RETRY_AFTER = {
    "description": "Seconds to wait before trying again.",
    "schema": {"type": "integer", "minimum": 1},
}
REQUEST_ID = {
    "description": "The request's id: yours, or a new one.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
}

SENT_REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "Your id for this request, which finds it in the log: 1 to 128 letters, digits, "
    "`.`, `_` and `-`. Anything else counts as none, and the service makes one.",
    "schema": {"type": "string"},
}

IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "Go on only if the resource still has one of these versions (RFC 9110 13.1.1).",
    "schema": {"type": "string"},
    "example": '"3"',
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "Answer 304 if the resource still has this version (RFC 9110 13.1.2).",
    "schema": {"type": "string"},
    "example": '"3"',
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes it safe to repeat this request: for 24 hours the same key with the same "
    "request gives the same answer, and no second effect. A dry run does not use it up.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
DRY_RUN = {
    "name": "dry_run",
    "in": "query",
    "required": False,
    "description": "Answer as if, and keep nothing: 200 with the body there would be (204 where "
    "there is none), without `Location` and `ETag`.",
    "schema": {"type": "boolean", "default": False},
}

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
    headers: dict[str, Any] = {}
    if names_resource:
        problems.add(NotFound)
    if verb == "GET":
        if transaction and route.path_format.endswith("}"):
            parameters.append(IF_NONE_MATCH)
            headers["ETag"] = ETAG
            route.responses[304] = {"description": "Unchanged", "headers": {"ETag": ETAG}}
    else:
        problems.add(CrossOrigin)
        if transaction:
            _document_write(route, verb, parameters, headers, problems)
    success = route.status_code or 200
    if success == 201:
        headers["Location"] = LOCATION
        route.responses[200] = {
            "description": "What would have been created (dry run)",
            "content": {"application/json": {"schema": _answer_schema(route)}},
        }
    if _is_page(route):
        headers["Link"] = LINK
    route.responses.setdefault(success, {}).update({"headers": headers} if headers else {})
    _describe_problems(route, problems)
    parameters.append(SENT_REQUEST_ID)
    extra = route.openapi_extra or {}
    route.openapi_extra = {**extra, "parameters": [*extra.get("parameters", []), *parameters]}


def _document_write(
    route: APIRoute,
    verb: str,
    parameters: list[dict[str, Any]],
    headers: dict[str, Any],
    problems: set[type[Problem]],
) -> None:
    parameters.append(DRY_RUN)
    problems.add(Conflict)
    if "{" in route.path_format:
        parameters.append(IF_MATCH)
        problems.add(PreconditionFailed)
    if route.status_code != 204:
        headers["ETag"] = ETAG
    if verb == "POST":
        parameters.append(IDEMPOTENCY_KEY)
        problems |= {InFlight, KeyReused}
        headers["Idempotency-Replayed"] = REPLAYED


def _answer_schema(route: APIRoute) -> dict[str, str]:
    return {"$ref": REF.format(model=route.response_model.__name__)}


def _is_page(route: APIRoute) -> bool:
    fields = getattr(route.response_model, "model_fields", {})
    return "next_cursor" in fields


def _describe_problems(route: APIRoute, problems: Iterable[type[Problem]]) -> None:
    by_status: defaultdict[int, list[type[Problem]]] = defaultdict(list)
    for problem in sorted(problems, key=lambda problem: problem.slug):
        by_status[problem.status].append(problem)
    for status, kinds in sorted(by_status.items()):
        response: dict[str, Any] = {
            "description": "; ".join(kind.title for kind in kinds),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": REF.format(model="Problem")},
                    "examples": {kind.slug: _example(route, kind) for kind in kinds},
                }
            },
        }
        if any(kind in {Unavailable, InFlight} for kind in kinds):
            response["headers"] = {"Retry-After": RETRY_AFTER}
        if PreconditionFailed in kinds:
            response["headers"] = {"ETag": ETAG}
        route.responses[int(status)] = response


def _example(route: APIRoute, kind: type[Problem]) -> dict[str, Any]:
    return {
        "summary": kind.title,
        "value": {
            "type": f"{PROBLEMS_PATH}/{kind.slug}",
            "title": kind.title,
            "status": kind.status.value,
            "detail": " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
            "instance": route.path_format,
            "request_id": "2f1c6b1e",
        },
    }


def problems_of(operation: dict[str, Any]) -> set[str]:
    """Tell the slugs of the problems that an operation of the document can answer."""
    return {
        slug
        for response in operation["responses"].values()
        for slug in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", ())
    }


def build(app: FastAPI, tags: list[dict[str, str]]) -> dict[str, Any]:
    """Build the document of an application."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=tags,
        license_info=app.license_info,
        servers=[{"url": "/", "description": "This service"}],
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, shared = models_json_schema(
        [(ProblemRead, "serialization"), (FaultRead, "serialization")],
        ref_template=REF,
    )
    for definition in shared["$defs"].values():
        schemas[definition["title"]] = _renamed(definition)
    document["security"] = []
    for context in iter_route_contexts(app.routes):
        query = getattr(context.original_route, "query", None)
        for model in query.models.values() if query else ():
            verb = next(iter(context.methods or ()))
            operation = document["paths"][context.path_format][verb.lower()]
            operation["parameters"] = [*_parameters(model, schemas), *operation["parameters"]]
    for path in document["paths"].values():
        for verb, operation in path.items():
            for parameter in operation["parameters"]:
                _drop_null(parameter["schema"])
            if verb == "patch":
                _take_merge_patch(operation)
            for response in operation["responses"].values():
                response.setdefault("headers", {})["X-Request-ID"] = REQUEST_ID
    _link(document["paths"])
    return document


def _take_merge_patch(operation: dict[str, Any]) -> None:
    content = operation["requestBody"]["content"]
    content["application/merge-patch+json"] = content["application/json"]


def _link(paths: dict[str, Any]) -> None:
    """Link each answer to a creation with the operations on what it has created."""
    for path, operations in paths.items():
        created = operations.get("post", {}).get("responses", {}).get("201")
        if created is None:
            continue
        below = re.compile(rf"{re.escape(path)}/{{(\w+)}}(/\w+)?")
        created["links"] = {
            follower["operationId"]: {
                "operationId": follower["operationId"],
                "parameters": {found[1]: "$response.body#/id"},
                "description": follower["summary"],
            }
            for other, followers in paths.items()
            if (found := below.fullmatch(other))
            for follower in followers.values()
        }


def _parameters(model: type[BaseModel], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """Document the fields of a model as query parameters."""
    schema = model.model_json_schema(ref_template=REF)
    schemas.update(schema.get("$defs", {}))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": field.pop("description", ""),
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]


def _renamed(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: REF.format(model=value.rsplit("/", 1)[1].removesuffix("Read"))
            if key == "$ref"
            else _renamed(value)
            for key, value in schema.items()
        }
    return [_renamed(item) for item in schema] if isinstance(schema, list) else schema


def _drop_null(schema: dict[str, Any]) -> None:
    """Leave out the null that means absence: a parameter in a URL cannot be null."""
    if schema.get("default", ...) is None:
        del schema["default"]
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        del schema["anyOf"]
        schema.update(choices[0])
