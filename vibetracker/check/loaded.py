"""The rules for what a feature brings to the application: operations and tables."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import unwrap
from pathlib import Path
from typing import Any, get_args

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import DateTime, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from vibetracker.core.api.routing import Operation
from vibetracker.core.api.schema import Input
from vibetracker.core.db.model import Base
from vibetracker.core.discovery import Feature, Source, place_of

from .breach import Breach, Breaches
from .code import requests_in, tests_of

MISSPELT = {"ge", "gt", "le", "lt", "min_length", "max_length", "multiple_of"}
"""Names of bounds that are Pydantic's and not JSON Schema's."""

type Schema = dict[str, Any]
type Report = Callable[[str, str], Breach]


def operation_breaches(app: FastAPI, feature: Feature, source: Source) -> Breaches:
    """Check the operations of one feature."""
    document = app.openapi()
    tested = [request for path in tests_of(source) for request in requests_in(path)]
    if not feature.router.description.strip():
        path = source.folder / "router.py"
        yield Breach(path, 1, "the router has no description", "say what the feature is for")
    for operation in feature.operations:
        path, line = place_of(operation.endpoint)

        def breach(problem: str, mend: str, path: Path = path, line: int = line) -> Breach:
            return Breach(path, line, problem, mend)

        spec = document["paths"].get(operation.path_format, {}).get(operation.verb.lower())
        if spec is None:
            yield breach(f"{operation.name} is not in the document", "leave out include_in_schema")
            continue
        yield from _named(operation, spec, breach)
        yield from _explained(operation, spec, document, breach)
        yield from _answered(operation, spec, breach)
        yield from _strict(operation, spec, document, breach)
        if (source.folder / "tests").is_dir() and not _is_tested(operation, tested):
            what = f"{operation.verb} {operation.path_format}"
            mend = f"call it there, as in client.{operation.verb.lower()}(...)"
            yield breach(f"no test of the feature calls {what}", mend)


def _named(operation: Operation, spec: Schema, breach: Report) -> Breaches:
    is_page = "next_cursor" in getattr(operation.response_model, "model_fields", {})
    prefix = {"GET": "list_" if is_page else "get_", "PATCH": "update_", "DELETE": "delete_"}
    if operation.path_format.count("/") == 1:
        prefix["POST"] = "create_"
    wanted = prefix.get(operation.verb, "")
    name = spec["operationId"]
    if name != unwrap(operation.endpoint).__name__:
        yield breach(f"{name} is not the name of its handler", "leave out operation_id")
    elif not name.startswith(wanted):
        yield breach(f"{name} is not named for what it does", f"let its name begin with {wanted}")
    elif not name.islower():
        yield breach(f"{name} is no name in lower case", "name it as in list_things")


def _explained(operation: Operation, spec: Schema, document: Schema, breach: Report) -> Breaches:
    name = spec["operationId"]
    if not spec.get("description", "").endswith("."):
        yield breach(f"{name} is not documented", "give it a docstring, one sentence or more")
    parameters = spec.get("parameters", ())
    for schema in _schemas_in([parameters, spec.get("requestBody")], document, set()):
        for word in sorted(schema.keys() & MISSPELT):
            problem = f"{name} documents a bound as {word!r}, which is no word of JSON Schema"
            yield breach(problem, "let Field stand in front of validators in Annotated")
    for parameter in _undocumented_parameters(operation):
        yield breach(f"the parameter {parameter!r} of {name} is not documented", "describe it")


def _undocumented_parameters(operation: Operation) -> list[str]:
    """Tell which have no words of their own; the document makes some of their name then."""
    single = [*operation.dependant.path_params, *operation.dependant.query_params]
    fields = {parameter.alias: parameter.field_info for parameter in single}
    for model in operation.parameters.models.values():
        fields |= model.model_fields
    return [name for name, field in fields.items() if not field.description]


def _answered(operation: Operation, spec: Schema, breach: Report) -> Breaches:
    name = spec["operationId"]
    status = str(operation.status_code or 200)
    content = spec["responses"][status].get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    if status != "204" and schema.keys() <= {"title"}:
        yield breach(f"the answer of {name} has no schema", "give it a type or a response_model")
    if schema.get("type") == "array":
        yield breach(f"{name} answers a list without pages", "answer a Page, by paginate")
    if operation.verb == "POST" and name.startswith("create_") and status != "201":
        yield breach(f"{name} creates and answers {status}", "give it status_code=201")
    if operation.verb == "DELETE" and status != "204":
        yield breach(f"{name} deletes and answers {status}", "give it status_code=204")


def _strict(operation: Operation, spec: Schema, document: Schema, breach: Report) -> Breaches:
    if operation.body_field is not None:
        for model in _models_in(operation.body_field.field_info.annotation):
            config = model.model_config
            if not (issubclass(model, Input) and config["strict"] and config["extra"] == "forbid"):
                yield breach(f"{model.__name__} takes what it does not know", "make it an Input")
    for schema in _schemas_in(spec.get("requestBody"), document, set()):
        is_open = "properties" not in schema and schema.get("additionalProperties") is not False
        if schema.get("type") == "object" and is_open:
            problem = f"the body of {operation.name} has members that nobody knows"
            yield breach(problem, "name them in an Input")
        if schema.get("type") == "array" and "maxItems" not in schema:
            yield breach(
                f"a list in the body of {operation.name} has no end", "give it a max_length"
            )
        is_free = not {"enum", "const", "format", "pattern", "maxLength"} & schema.keys()
        if schema.get("type") == "string" and is_free:
            yield breach(f"a text in the body of {operation.name} has no end", "mark it as a Line")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Give the models that values of this type are made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models_in(field.annotation)
    for argument in get_args(getattr(annotation, "__value__", annotation)):
        yield from _models_in(argument)


def _schemas_in(schema: Any, document: Schema, seen: set[str]) -> Iterator[Schema]:
    """Give a schema and all that it refers to or is made of."""
    if isinstance(schema, dict):
        yield schema
        place, _, name = str(schema.get("$ref", "")).rpartition("/")
        if place == "#/components/schemas" and name not in seen:
            seen.add(name)
            yield from _schemas_in(document["components"]["schemas"][name], document, seen)
        for value in schema.values():
            yield from _schemas_in(value, document, seen)
    elif isinstance(schema, list):
        for item in schema:
            yield from _schemas_in(item, document, seen)


def _is_tested(operation: Operation, requests: Sequence[tuple[str, str]]) -> bool:
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(operation.path_format))
    return any(
        verb == operation.verb and re.fullmatch(pattern, path, re.DOTALL) for verb, path in requests
    )


def table_breaches(feature: Feature, source: Source, owners: Mapping[str, str]) -> Breaches:
    """Check the tables of one feature; ``owners`` tells whose any table is."""
    path = source.folder / "model.py"
    for name in feature.tables:
        table = Base.metadata.tables[name]
        for column in table.columns:
            line = _line_of(path, column.name)
            if isinstance(column.type, DateTime):
                problem = f"{name}.{column.name} forgets its time zone on SQLite"
                yield Breach(path, line, problem, "make it a UTCDateTime")
            for key in column.foreign_keys:
                owner = owners.get(key.column.table.name)
                if owner not in {None, feature.name, *feature.needs}:
                    problem = f"{name}.{column.name} refers to {owner}, which is not imported"
                    yield Breach(path, line, problem, "name the column by its class, as Thing.id")
                if type(key.column.type) is not type(column.type):
                    problem = f"{name}.{column.name} cannot hold every id that it refers to"
                    yield Breach(path, line, problem, "make it a BigInt")
        yield from _portable(path, table)


def _portable(path: Path, table: Table) -> Breaches:
    for dialect in (sqlite, postgresql):
        try:
            CreateTable(table).compile(dialect=dialect.dialect())
        except SQLAlchemyError as error:
            problem = f"{table.name} is no table in {dialect.__name__.rpartition('.')[2]}: {error}"
            yield Breach(path, _line_of(path, table.name), problem, "use what both databases have")


def _line_of(path: Path, name: str) -> int:
    """Find the line that defines a column; the first one where none does."""
    lines = path.read_text().splitlines()
    places = [n for n, line in enumerate(lines, 1) if re.search(rf"\b{name}\b", line)]
    return places[0] if places else 1
