"""The OpenAPI document: what FastAPI makes of the operations, in the words of the shared rules."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from vibetracker.core.api.examples import Examples
from vibetracker.core.api.openapi import HEADERS, OPAQUE, REF, problems_of, unauthorized
from vibetracker.core.api.parameters import query_models
from vibetracker.core.api.schema import LAST_YEAR
from vibetracker.core.http.faults import FaultRead
from vibetracker.core.http.problems import PROBLEMS_PATH, ProblemRead

FIELDS = {
    "id": "The resource's id.",
    "created_at": "When it was created, in UTC.",
    "updated_at": "When it was last changed, in UTC.",
    "version": "1 at first, and one more with every change; the `ETag`.",
}
"""What the fields of every resource mean, where a schema does not say it."""


def build(app: FastAPI) -> dict[str, Any]:
    """Build the document of an application."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
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
        dependant = getattr(context.original_route, "dependant", None)
        for model in query_models(dependant) if dependant else ():
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
        if operation.get("security"):
            operation["responses"].setdefault("401", unauthorized())
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
        for name in response.get("headers", ())
    }
    document["components"]["headers"] = {
        name: HEADERS[name] for name in sorted(used & HEADERS.keys())
    }
    _link(document["paths"])
    return document


def _give_examples(
    operations: Iterable[tuple[str, dict[str, Any]]], schemas: dict[str, Any]
) -> None:
    """Add an example to each body and each parameter, alike within a feature."""
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
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        content["application/merge-patch+json"] = content["application/json"]


def _describe_body(body: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Describe a body as its schema is described."""
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
    """Return the fields of a model as query parameters."""
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
    """Describe the limits in words too, and leave out what stands outside the schema.

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
