"""The OpenAPI document: what every operation shares is written into it once, from the rules."""

import inspect
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from vibetracker.core.examples import Examples
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
from vibetracker.core.schema import LAST_YEAR

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

FIELDS = {
    "id": "The resource's id.",
    "created_at": "When it was created, in UTC.",
    "updated_at": "When it was last changed, in UTC.",
    "version": "1 at first, and one more with every change; the `ETag`.",
}
"""What the fields of every resource mean, where a schema does not say it."""

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
    route.summary = re.split(r"[:;.]", route.description, maxsplit=1)[0]
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
    parameters.append(SENT_REQUEST_ID)
    extra = route.openapi_extra or {}
    route.openapi_extra = {**extra, "parameters": [*extra.get("parameters", []), *parameters]}


def _rules_in_words(
    verb: str, parameters: Sequence[Mapping[str, Any]], headers: Collection[str]
) -> Iterator[str]:
    """Say in a paragraph what the shared rules make of an operation."""
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
        route.responses[int(status)] = {
            "description": "; ".join(kind.title for kind in kinds),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": REF.format(model="Problem")},
                    "examples": {kind.slug: _example(route, kind) for kind in kinds},
                }
            },
            "headers": _headers(*sorted(headers)),
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
        contact=app.contact,
        license_info=app.license_info,
        servers=[{"url": "/", "description": "This service"}],
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, shared = models_json_schema(
        [(ProblemRead, "serialization"), (FaultRead, "serialization")],
        ref_template=REF,
    )
    schemas |= shared["$defs"]
    document["security"] = []
    for context in iter_route_contexts(app.routes):
        parameters = getattr(context.original_route, "parameters", None)
        for model in parameters.models.values() if parameters else ():
            verb = next(iter(context.methods or ()))
            operation = document["paths"][context.path_format][verb.lower()]
            operation["parameters"] = [*_parameters(model, schemas), *operation["parameters"]]
    document = _called_by_title(document)
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        _tidy(schema)
    operations = [item for path in document["paths"].values() for item in path.items()]
    for verb, operation in operations:
        for parameter in operation["parameters"]:
            _tidy_parameter(parameter)
        if verb == "patch":
            _take_merge_patch(operation)
        if "requestBody" in operation:
            _describe_body(operation["requestBody"], schemas)
    _give_examples(operations, schemas)
    slugs = {slug for _, operation in operations for slug in problems_of(operation)}
    kinds = [f"{PROBLEMS_PATH}/{slug}" for slug in sorted(slugs)]
    # No enum: a client has to live with the problem that a later feature brings.
    schemas["Problem"]["properties"]["type"]["x-extensible-enum"] = kinds
    used = {
        name
        for _, operation in operations
        for response in operation["responses"].values()
        for name in response["headers"]
    }
    document["components"]["headers"] = {name: HEADERS[name] for name in sorted(used)}
    _link(document["paths"])
    return document


def _give_examples(
    operations: Iterable[tuple[str, dict[str, Any]]], schemas: dict[str, Any]
) -> None:
    """Give each body and each parameter an example, alike within a feature."""
    makers: defaultdict[str, Examples] = defaultdict(lambda: Examples(schemas))
    bodies = [
        (makers[operation["tags"][0]], content)
        for _, operation in operations
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    for examples, content in bodies:
        examples.learn(content["schema"])
    for _, operation in operations:
        examples = makers[operation["tags"][0]]
        bodies += [
            (examples, response["content"]["application/json"])
            for response in operation["responses"].values()
            if "application/json" in response.get("content", ())
        ]
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                parameter["example"] = examples.of(parameter["schema"])
            elif parameter["name"] not in OPAQUE:
                # In the schema, from where the documentation does not take them into a request.
                _show(parameter["schema"], examples)
    for examples, content in bodies:
        if "examples" not in content:
            content.setdefault("example", examples.of(content["schema"]))


def _show(schema: dict[str, Any], examples: Examples) -> None:
    plain = {keyword: value for keyword, value in schema.items() if keyword != "default"}
    if schema.get("type") != "boolean":
        schema.setdefault("examples", [schema.get("default") or examples.of(plain)])


def _take_merge_patch(operation: dict[str, Any]) -> None:
    content = operation["requestBody"]["content"]
    content["application/merge-patch+json"] = content["application/json"]


def _describe_body(body: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Say of a body what its schema says of itself."""
    shown = next(iter(body["content"].values()))["schema"]
    name = shown.get("$ref", "").removeprefix(REF.format(model=""))
    if said := schemas.get(name, {}).get("description"):
        body.setdefault("description", said)


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
            "description": field.get("description"),
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]


def _called_by_title(document: dict[str, Any]) -> dict[str, Any]:
    """Call each schema by its title, such as ``TaskPage``, where no other one has the same."""
    schemas = document["components"]["schemas"]
    titles = Counter(schema.get("title") for schema in schemas.values())
    names = {
        name: title
        for name, schema in schemas.items()
        if titles[title := schema.get("title", name)] == 1
        and title not in schemas
        and re.fullmatch(r"[\w.-]+", title, re.ASCII)
    }
    refs = {REF.format(model=old): REF.format(model=new) for old, new in names.items()}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return {**value, "$ref": refs.get(value["$ref"], value["$ref"])}
            return {key: renamed(member) for key, member in value.items()}
        return [renamed(item) for item in value] if isinstance(value, list) else value

    result: dict[str, Any] = renamed(document)
    result["components"]["schemas"] = {
        names.get(name, name): schema for name, schema in result["components"]["schemas"].items()
    }
    return result


def _tidy(schema: dict[str, Any]) -> None:
    """Leave out the titles that repeat a name, and the fractions of whole bounds.

    Also say what needs no saying in each feature: what the fields of every resource mean.
    """
    for name, member in schema.get("properties", {}).items():
        if member.get("title", "").capitalize() == _words(name):
            del member["title"]
        for choice in member.get("anyOf", ()):
            # Where it may be null as well, what it means is said of one of the two.
            if "description" in choice:
                member.setdefault("description", choice.pop("description"))
        if name in FIELDS:
            member.setdefault("description", FIELDS[name])
    for keyword in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        if keyword in schema and schema[keyword] == int(schema[keyword]):
            schema[keyword] = int(schema[keyword])
    items = [schema["items"]] if "items" in schema else []
    for member in (*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *items):
        _tidy(member)


def _tidy_parameter(parameter: dict[str, Any]) -> None:
    """Say the limits in words too, and leave out what a parameter says outside its schema.

    The null that means absence goes with it: a parameter in a URL cannot be null.
    """
    schema = parameter["schema"]
    if schema.get("default", ...) is None:
        del schema["default"]
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        del schema["anyOf"]
        schema.update(choices[0])
    for keyword in ("title", "description"):
        schema.pop(keyword, None)
    meaning = parameter.get("description") or f"{_words(parameter['name'])}."
    parameter["description"] = " ".join([meaning, *_limits(schema)])


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _limits(schema: dict[str, Any]) -> Iterator[str]:
    if schema.get("type") == "array":
        most = f" up to {schema['maxItems']} times" if "maxItems" in schema else ""
        yield f"Repeat it{most} for more than one."
        schema = schema.get("items", {})
    match schema:
        case {"minimum": least, "maximum": most}:
            yield f"{least} to {most}."
        case {"minimum": least}:
            yield f"At least {least}."
        case {"maximum": most}:
            yield f"At most {most}."
    if "maxLength" in schema:
        yield f"At most {schema['maxLength']} characters."
    if formats := [
        choice["format"] for choice in schema.get("anyOf", [schema]) if "format" in choice
    ]:
        yield f"An RFC 3339 {' or '.join(formats)} of the years 1900 to {LAST_YEAR}."
    if "default" in schema and schema["default"] != []:
        yield f"By default {json.dumps(schema['default'])}."
