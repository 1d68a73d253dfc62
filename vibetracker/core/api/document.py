"""The OpenAPI document: what FastAPI makes of the operations, in the words of the shared rules."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

from vibetracker.core.api.examples import Examples, Schema
from vibetracker.core.api.includes import Include, Includes
from vibetracker.core.api.openapi import HEADERS, MEMBERS, REF, unauthorized
from vibetracker.core.api.parameters import query_models
from vibetracker.core.http.problems import MEDIA_TYPE, ProblemRead

PAGE = re.compile(r'(?<=["/])Page[_\[](\w+?)(?:Read)?[_\]](?=")')
"""What is a ``TaskPage``: FastAPI's name ``Page_TaskRead_``, and Pydantic's ``Page[TaskRead]``."""


def build(app: FastAPI) -> Schema:
    """Build the document of an application."""
    document: Schema = FastAPI.openapi(app)
    document["security"] = []
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _schema_of(ProblemRead, schemas, "serialization")
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context.original_route, "dependant", None)
        for base in query_models(dependant) if dependant else ():
            model = app.state.extended.get(base, base)
            verb = next(iter(context.methods or ()))
            operation = document["paths"][context.path_format][verb.lower()]
            operation["parameters"] = [*_parameters(model, schemas), *operation["parameters"]]
            if issubclass(model, Include):
                _include(model.members, schemas)
    document = json.loads(PAGE.sub(r"\1Page", json.dumps(document)))
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        _tidy(schema)
    operations = []
    for methods in document["paths"].values():
        for verb, operation in methods.items():
            operations.append(operation)
            _tidy_operation(operation, verb, schemas)
    _add_examples(operations, schemas)
    used = {
        name
        for operation in operations
        for response in operation["responses"].values()
        for name in response.get("headers", ())
    }
    shown = {name: field for name, field in HEADERS.items() if name in used}
    document["components"]["headers"] = shown
    return document


def _schema_of(model: type[BaseModel], schemas: Schema, mode: Any) -> Schema:
    """Return the schema of a model, and add what it refers to to the others."""
    schema = model.model_json_schema(ref_template=REF, mode=mode)
    schemas |= schema.pop("$defs", {})
    return schema


def _parameters(model: type[BaseModel], schemas: Schema) -> Iterator[Schema]:
    schema = _schema_of(model, schemas, "validation")
    for name, field in schema["properties"].items():
        required = name in schema.get("required", ())
        parameter = {"name": name, "in": "query", "required": required, "schema": field}
        yield parameter | {"description": field.get("description")}


def _include(members: type[Includes], schemas: Schema) -> None:
    """Add what ``include`` asks for to the answer, as members that it need not have."""
    added = _schema_of(members, schemas, "serialization")["properties"]
    for name, (member, _) in members.members().items():
        added[member]["description"] += f" Only with `include={name}`."
    answer = members.answer.model_json_schema(mode="serialization")
    for schema in schemas.values():
        # Another feature may have a model of the same name, so that neither schema has it.
        names = schema.get("properties", {}).keys()
        if schema.get("title") == answer["title"] and names >= answer["properties"].keys():
            schema["properties"] |= added


def _tidy(schema: Schema) -> None:
    """Say of each member what it means, and leave out titles that repeat a name.

    Also the fractions of whole bounds, which FastAPI adds.
    """
    members = schema.get("properties", {})
    for name, member in members.items():
        if member.get("title", "").lower() == name.replace("_", " "):
            del member["title"]
        for choice in member.get("anyOf", ()):
            # Where it may be null as well, what it means is said of one of the two.
            if "description" in choice:
                member.setdefault("description", choice.pop("description"))
        if name in MEMBERS:
            member.setdefault("description", MEMBERS[name])
    for keyword in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        if keyword in schema and schema[keyword] == int(schema[keyword]):
            schema[keyword] = int(schema[keyword])
    items = [schema["items"]] if "items" in schema else []
    for part in (*members.values(), *schema.get("anyOf", ()), *items):
        _tidy(part)


def _tidy_operation(operation: Schema, verb: str, schemas: Schema) -> None:
    for parameter in operation["parameters"]:
        _tidy_parameter(parameter)
    if operation.get("security"):
        operation["responses"].setdefault("401", unauthorized())
    dry_run, created = (operation["responses"].get(status, {}) for status in ("200", "201"))
    if "content" in created:
        dry_run.setdefault("content", created["content"])
    for response in operation["responses"].values():
        for content in response.get("content", {}).values():
            # The schema of the items of a stream, which is a word of OpenAPI 3.2.
            if content.pop("itemSchema", None) is not None:
                content["schema"] = {"type": "string"}
    if body := operation.get("requestBody"):
        content = body["content"]
        if verb == "patch" and "application/json" in content:
            content["application/merge-patch+json"] = content["application/json"]
        name = next(iter(content.values()))["schema"].get("$ref", "").rpartition("/")[2]
        if description := schemas.get(name, {}).get("description"):
            body.setdefault("description", description)


def _tidy_parameter(parameter: Schema) -> None:
    """Leave out of the schema what stands outside of it, and the null that means absence.

    A parameter in a URL cannot be null.
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
    if not parameter.get("description"):
        parameter["description"] = f"{parameter['name'].replace('_', ' ').capitalize()}."


def _add_examples(operations: list[Schema], schemas: Schema) -> None:
    """Add an example to each body and each parameter, alike within a feature."""
    makers: defaultdict[str, Examples] = defaultdict(lambda: Examples(schemas))
    for operation in operations:
        for content in operation.get("requestBody", {}).get("content", {}).values():
            makers[operation["tags"][0]].learn(content["schema"])
    for operation in operations:
        examples = makers[operation["tags"][0]]
        for parameter in operation["parameters"]:
            schema = parameter["schema"]
            if parameter["in"] == "path":
                parameter["example"] = examples.of(schema)
            elif parameter["name"] != "cursor" and schema.get("type") != "boolean":
                # In the schema, from where the documentation does not take them into a request.
                plain = {word: value for word, value in schema.items() if word != "default"}
                schema.setdefault("examples", [schema.get("default") or examples.of(plain)])
        for body in (operation.get("requestBody", {}), *operation["responses"].values()):
            for media_type, content in body.get("content", {}).items():
                if media_type != MEDIA_TYPE and "schema" in content and "examples" not in content:
                    content.setdefault("example", examples.of(content["schema"]))
