"""The rules of the house: for a feature's code, for its operations, and for its tables."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from fastapi.dependencies.models import Dependant
from sqlalchemy import DateTime, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from vibetracker.cli.needs import Import, imports_of, missing, modules_of
from vibetracker.core import discovery
from vibetracker.core.api.examples import is_decimal
from vibetracker.core.api.fields import item_of
from vibetracker.core.api.routing import Operation
from vibetracker.core.db.model import Base
from vibetracker.core.discovery import Feature, FeatureError, Source

MISSPELT = {"ge", "gt", "le", "lt", "min_length", "max_length", "multiple_of"}
"""Names of bounds that are Pydantic's and not JSON Schema's."""
BOUNDED = {"enum", "const", "format", "pattern", "maxLength", "contentMediaType"}
"""The words of JSON Schema of which a text in a body has one, or no end."""
CONSTANT = re.compile(r'^(\w+) = f?("[^"\n]*")$', re.MULTILINE)
REQUEST = re.compile(r'[."](get|post|put|patch|delete)(?:\(|",)\s*f?"(/[^"?]*)', re.IGNORECASE)
"""A method and a path, as in ``client.get("/things")`` or ``("GET", "/things")``."""

type Schema = dict[str, Any]
type Faults = Iterator[FeatureError]
type Rules = Iterator[tuple[str, str]]
"""Problems, each with its mend, at a place that is known."""


def breaches_of_code(source: Source, found: Mapping[str, Source]) -> Faults:
    """Check the code of one feature, which is read and not run."""
    yield from discovery.folder_faults(source)
    yield from missing(source, found)
    for it in imports_of(source):
        for problem, mend in _import(source, found, it):
            yield FeatureError(source.name, problem, mend, path=it.path, line=it.line)
    for path in modules_of(source):
        for node in ast.walk(ast.parse(path.read_bytes(), path)):
            if isinstance(node, ast.Call):
                for problem, mend in _call(node, path):
                    yield FeatureError(source.name, problem, mend, path=path, line=node.lineno)
    tests = source.folder / "tests"
    if tests.is_dir() or not _is_from_wheel(source):
        if not list(tests.glob("test_*.py")):
            path, mend = tests / f"test_{source.name}.py", "write one for each operation"
            yield FeatureError(source.name, "the feature has no tests", mend, path=path)
        path = tests / "factory.py"
        if (source.folder / "model.py").is_file() and not path.is_file():
            mend = "write one, so that tests and other features can have rows"
            yield FeatureError(source.name, "there is no factory for the model", mend, path=path)


def _is_from_wheel(source: Source) -> bool:
    """Whether a feature was installed from a wheel, which leaves its tests out."""
    name = "vibetracker" if source.origin == "folder" else source.origin.partition(" ")[0]
    paths = (Path(str(file.locate())) for file in distribution(name).files or ())
    return source.folder / "router.py" in paths


def _call(node: ast.Call, path: Path) -> Rules:
    owner, _, name = ast.unparse(node.func).rpartition(".")
    if name in {"commit", "rollback"} and not node.args and not _has_begun(owner, node, path):
        problem = f"{name}() ends the transaction before its response is made"
        yield problem, "leave it out: the operation commits"
    if any(keyword.arg == "backref" for keyword in node.keywords):
        problem = "a backref puts an attribute on another class unseen"
        yield problem, "write both sides with back_populates, or none"


def _has_begun(name: str, node: ast.Call, path: Path) -> bool:
    """Whether a function has made what it ends: a savepoint, or a session of its own."""
    before = "\n".join(path.read_text().splitlines()[: node.lineno]).rpartition("def ")[2]
    return re.search(rf"\bas {re.escape(name)}\b|\b{re.escape(name)} = ", before) is not None


def _import(source: Source, found: Mapping[str, Source], imported: Import) -> Rules:
    inside = imported.module.removeprefix("vibetracker.").partition(".")[0]
    if imported.module.startswith("vibetracker.") and inside not in {"core", "features"}:
        yield f"a feature builds on core, not on vibetracker.{inside}", "leave it out"
    for other in found.values():
        if other is source or not imported.reaches(other.package):
            continue
        inside = imported.module.removeprefix(other.package).removeprefix(".").partition(".")[0]
        for name in [inside] if inside else imported.names:
            path = other.folder / f"{name}.py"
            text = path.read_text() if path.is_file() else None
            if name in {"router", "tests"}:
                yield f"the {name} of {other.name} is its own", "import its model or its schema"
            elif text and name not in {"model", "schema"} and not text.startswith('"""Public:'):
                problem = f"{other.name} does not say that its module {name} is public"
                yield problem, f'begin its docstring with "Public:", in {path.name}'


def breaches_of_operations(document: Schema, feature: Feature, source: Source) -> Faults:
    """Check the operations of one feature."""
    if not feature.router.description.strip():
        path, mend = source.folder / "router.py", "say what the feature is for"
        yield FeatureError(source.name, "the router has no description", mend, path=path)
    for operation in feature.operations:
        spec = document["paths"][operation.path_format][operation.verb.lower()]
        rules = [*_described(operation, spec, document), *_answered(operation, spec)]
        path, line = discovery.place_of(operation.endpoint)
        for problem, mend in [*_tested(operation, source), *rules]:
            yield FeatureError(source.name, problem, mend, path=path, line=line)


def _tested(operation: Operation, source: Source) -> Rules:
    """Look for the request of an operation in the text of the feature's tests."""
    verb, tests = operation.verb, source.folder / "tests"
    wanted = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(operation.path_format))
    for path in tests.rglob("*.py"):
        text = path.read_text()
        for name, value in CONSTANT.findall(text):
            text = re.sub(rf"\b{name}\b(?=[,)])", value, text.replace(f"{{{name}}}", value[1:-1]))
        for method, called in REQUEST.findall(text):
            if method.upper() == verb and re.fullmatch(wanted, called):
                return
    if tests.is_dir():
        problem = f"no test of the feature calls {verb} {operation.path_format}"
        yield problem, f"call it there, as in client.{verb.lower()}(...)"


def _described(operation: Operation, spec: Schema, document: Schema) -> Rules:
    name = spec["operationId"]
    if not spec.get("description", "").endswith("."):
        yield f"{name} is not documented", "give it a docstring, one sentence or more"
    for parameter in _undocumented(operation.dependant):
        yield f"the parameter {parameter!r} of {name} is not documented", "describe it"
    for schema in _schemas_in([spec["parameters"], spec.get("requestBody")], document, set()):
        for word in sorted(schema.keys() & MISSPELT):
            problem = f"{name} documents a bound as {word!r}, which is no word of JSON Schema"
            yield problem, "let Field stand in front of validators in Annotated"
    # A file has no schema that would be checked; what describes it is for its readers.
    has_model = operation.body_field is not None
    body = spec.get("requestBody", {}).get("content", {}).get("application/json")
    for schema in _schemas_in(body if has_model else None, document, set()):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            title = schema.get("title", "an object")
            yield f"{title} in the body of {name} takes what it does not know", "make it an Input"
        if schema.get("type") == "array" and "maxItems" not in schema:
            yield f"a list in the body of {name} has no end", "give it a max_length"
        if schema.get("type") == "string" and not BOUNDED & schema.keys():
            yield f"a text in the body of {name} has no end", "mark it as a Line or as Prose"


def _answered(operation: Operation, spec: Schema) -> Rules:
    verb, name, status = operation.verb, spec["operationId"], operation.status_code or 200
    get = "list_" if item_of(operation.response_model) else "get_"
    prefixes = {"GET": get, "PATCH": "update_", "DELETE": "delete_"}
    if operation.path_format.count("/") == 1:
        prefixes["POST"] = "create_"
    if not name.startswith(prefixes.get(verb, "")) or not name.islower():
        yield f"{name} is not named for what it does", f"name it {prefixes.get(verb, '')}..."
    content = spec["responses"].get(str(status), {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    if operation.response_model is not None and content and schema.keys() <= {"title"}:
        yield f"the answer of {name} has no schema", "give it a type or a response_model"
    if schema.get("type") == "array":
        yield f"{name} answers a list without pages", "answer a Page, by paginate"
    wanted = 204 if verb == "DELETE" else 201 if name.startswith("create_") else status
    if status != wanted:
        yield f"{name} answers {status}", f"give it status_code={wanted}"


def _undocumented(dependant: Dependant) -> Iterator[str]:
    """Yield the parameters without a description, for which the document makes up one."""
    for parameter in (*dependant.path_params, *dependant.query_params):
        whole = {parameter.alias: parameter.field_info}
        fields = getattr(parameter.field_info.annotation, "model_fields", whole)
        yield from (name for name, field in fields.items() if not field.description)
    for dependency in dependant.dependencies:
        yield from _undocumented(dependency)


def _schemas_in(schema: Any, document: Schema, seen: set[str]) -> Iterator[Schema]:
    """Yield a schema and all that it refers to or is made of."""
    if isinstance(schema, dict):
        yield schema
        if is_decimal(schema):
            return  # its schema never says how long the text may be
        place, _, name = str(schema.get("$ref", "")).rpartition("/")
        if place == "#/components/schemas" and name not in seen:
            seen.add(name)
            yield from _schemas_in(document["components"]["schemas"][name], document, seen)
        schema = [*schema.values()]
    for part in schema if isinstance(schema, list) else ():
        yield from _schemas_in(part, document, seen)


def breaches_of_tables(source: Source, owners: Mapping[str, str], needs: Sequence[str]) -> Faults:
    """Check the tables of one feature; ``owners`` has the feature of each table."""
    path = source.folder / "model.py"
    known = {table for table, owner in owners.items() if owner in {source.name, *needs}}
    for name in (table for table, owner in owners.items() if owner == source.name):
        for place, problem, mend in _table(Base.metadata.tables[name], known):
            found = re.search(rf"\b{place}\b", path.read_text())
            line = found.string.count("\n", 0, found.start()) + 1 if found else 1
            yield FeatureError(source.name, f"{name}{problem}", mend, path=path, line=line)


def _table(table: Table, known: set[str]) -> Iterator[tuple[str, str, str]]:
    for column in table.columns:
        name = column.name
        if isinstance(column.type, DateTime):
            yield name, f".{name} forgets its time zone on SQLite", "make it a UTCDateTime"
        for key in column.foreign_keys:
            other = key.column.table.name
            if other not in known:
                problem = f".{name} refers to {other}, whose feature is not imported"
                yield name, problem, "name the column by its class, as Thing.id"
            if type(key.column.type) is not type(column.type):
                yield name, f".{name} cannot hold every id that it refers to", "make it a BigInt"
    for dialect in (sqlite, postgresql):
        try:
            CreateTable(table).compile(dialect=dialect.dialect())
        except SQLAlchemyError as error:
            problem = f" is no table in {dialect.__name__.rpartition('.')[2]}: {error}"
            yield table.name, problem, "use what both databases have"
