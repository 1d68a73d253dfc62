"""``python -m tests.contract``: record what clients rely on, as the service is now.

Each feature keeps its record, and that of what it adds to the lists of others, in its own
``tests/contract.json``, which is deleted with it. What has been recorded may grow; a change that
breaks a client fails the tests until it is recorded on purpose.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonschema_rs import canonicalize
from jsonschema_rs.canonical import Containment

from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.discovery import Feature, discover, sources
from vibetracker.core.http.problems import MEDIA_TYPE

from .operations import Schema

type Contract = dict[str, dict[str, Schema]]

FILE = "contract.json"
ANNOTATIONS = {"title", "description", "discriminator", "example", "examples"}
LEVELS = 3


def contract_of(document: Schema, tag: str) -> Contract:
    """Return what clients rely on in an OpenAPI document: the operations with this tag."""
    operations = {
        f"{method.upper()} {path}": _operation(operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag in operation["tags"]
    }
    return _whole(operations, {}, document["components"]["schemas"])


def _whole(operations: Schema, schemas: Schema, found: Schema) -> Contract:
    """Return a contract with the schemas that its operations and those in turn refer to."""
    while missing := _references([operations, schemas]) - schemas.keys():
        schemas |= {name: _slim(found[name]) for name in missing}
    return {"operations": operations, "schemas": schemas}


def _operation(operation: Schema) -> Schema:
    body = operation.get("requestBody", {})
    entries: Schema = {"id": operation["operationId"]}
    for parameter in operation["parameters"]:
        entries[f"{parameter['in']} parameter {parameter['name']}"] = {
            "required": parameter["required"],
            "schema": _slim(parameter["schema"]),
        }
    for media_type, content in body.get("content", {}).items():
        entries[f"body {media_type}"] = {
            "required": body.get("required", False),
            "schema": _slim(content["schema"]),
        }
    for status, answer in operation["responses"].items():
        contents = answer.get("content", {})
        entries[f"answer {status}"] = {
            "headers": sorted(answer.get("headers", ())),
            "problems": sorted(contents.get(MEDIA_TYPE, {}).get("examples", ())),
            "contents": {name: _slim(content["schema"]) for name, content in contents.items()},
        }
    return entries


def _slim(schema: Schema) -> Schema:
    slim: Schema = {}
    for keyword, value in schema.items():
        if keyword == "properties":
            slim[keyword] = {name: _slim(member) for name, member in value.items()}
        elif keyword in {"anyOf", "oneOf", "allOf"}:
            slim[keyword] = [_slim(choice) for choice in value]
        elif keyword not in ANNOTATIONS:
            slim[keyword] = _slim(value) if isinstance(value, dict) else value
    return slim


def _references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"].rpartition("/")[2]} if "$ref" in part else set()
        return own.union(*map(_references, part.values()))
    return set().union(*map(_references, part)) if isinstance(part, list) else set()


def breaches(old: Contract, new: Contract) -> list[str]:
    """Return what breaks the clients of an older contract."""
    return list(_Comparison(old, new).breaches())


class _Comparison:
    """Compares the requests and responses of a contract with those of an older one."""

    def __init__(self, old: Contract, new: Contract) -> None:
        self.old = old
        self.new = new
        self._refers_to_the_same = old["schemas"] == new["schemas"]
        self._compared: dict[str, dict[str, str]] = {}

    def breaches(self) -> Iterator[str]:
        for name, before in self.old["operations"].items():
            now = self.new["operations"].get(name)
            if now is None:
                yield f"{name} is gone"
                continue
            for entry, was in before.items():
                place = f"{name}: {entry}"
                if entry not in now:
                    yield f"{place} is gone"
                elif entry == "id":
                    if was != now[entry]:
                        yield f"{place} was {was}"
                elif entry.startswith("answer"):
                    yield from self._in_answer(place, was, now[entry])
                else:
                    yield from self._in_request(place, was, now[entry])
            yield from (f"{name}: {entry} is new" for entry in _unforeseen(before, now))

    def _in_request(self, place: str, was: Schema, now: Schema) -> Iterator[str]:
        if now["required"] and not was["required"]:
            yield f"{place} has become required"
        for path, breach in self._in_schema(was["schema"], now["schema"], sent=True).items():
            yield f"{place}{path} {breach}"

    def _in_answer(self, place: str, was: Schema, now: Schema) -> Iterator[str]:
        for kind in ("headers", "problems"):
            for name in sorted(set(was[kind]) - set(now[kind])):
                yield f"{place} {name} is gone"
        for media_type, schema in was["contents"].items():
            if media_type not in now["contents"]:
                yield f"{place} {media_type} is gone"
                continue
            found = self._in_schema(schema, now["contents"][media_type], sent=False)
            yield from (f"{place}{path} {breach}" for path, breach in found.items())

    def _in_schema(self, was: Schema, now: Schema, *, sent: bool) -> dict[str, str]:
        """Compare two schemas: of a request it may not narrow, of a response not widen."""
        key = json.dumps([was, now, sent])
        if key not in self._compared:
            found = dict(self._all_in_schema(was, now, sent=sent))
            # Of a breach only the innermost member is reported.
            self._compared[key] = {
                path: breach
                for path, breach in found.items()
                if not any(other.startswith(f"{path}/") for other in found)
            }
        return self._compared[key]

    def _all_in_schema(self, was: Schema, now: Schema, *, sent: bool) -> Iterator[tuple[str, str]]:
        after = dict(_members(now, self.new))
        for path, schema in _members(was, self.old):
            if path not in after:
                yield path, "is gone"
            elif schema.get("default") != after[path].get("default"):
                yield path, "has another default"
            elif not self._fits(schema, after[path], sent=sent):
                yield path, "takes less than before" if sent else "gives more than before"

    def _fits(self, was: Schema, now: Schema, *, sent: bool) -> bool:
        if was == now and self._refers_to_the_same:
            return True
        before = canonicalize({**was, "components": {"schemas": self.old["schemas"]}})
        after = canonicalize({**now, "components": {"schemas": self.new["schemas"]}})
        covers = after.covers(before) if sent else before.covers(after)
        return covers is Containment.YES


def _unforeseen(before: Schema, now: Schema) -> Iterator[str]:
    """Yield the new entries that a client would have to know of."""
    had_body = any(entry.startswith("body") for entry in before)
    for entry in now.keys() - before.keys():
        is_choice = had_body and entry.startswith("body")
        is_success = entry.startswith(("answer 2", "answer 3"))
        if is_success or (now[entry].get("required") and not is_choice):
            yield entry


def _members(
    schema: Schema, contract: Contract, path: str = "", inside: tuple[str, ...] = ()
) -> Iterator[tuple[str, Schema]]:
    """Yield a schema and those of its members and items, each with its path."""
    yield path, schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in inside:
            return
        inside = (*inside, name)
        schema = contract["schemas"][name]
    parts = {f"{path}/{name}": member for name, member in schema.get("properties", {}).items()}
    if "items" in schema:
        parts[f"{path}/*"] = schema["items"]
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if "$ref" in choice:
            parts[f"{path}/({choice['$ref'].rpartition('/')[2]})"] = choice
    for way, part in parts.items():
        yield from _members(part, contract, way, inside)


def with_additions(contract: Contract, plain: Schema, extended: Schema) -> Contract:
    """Return the contract of a feature with what it adds to the operations of others.

    Of those operations it has the parameters and members that the ``plain`` document lacks.
    """
    schemas = extended["components"]["schemas"]
    for name, schema in plain["components"]["schemas"].items():
        members = schemas[name].get("properties", {})
        new = members.keys() - schema.get("properties", {})
        if new:
            schemas[name] = {"type": "object", "properties": {it: members[it] for it in new}}
    for tag in plain["tags"]:
        before, after = (contract_of(it, tag["name"]) for it in (plain, extended))
        for name, entries in after["operations"].items():
            old = before["operations"][name]
            new_entries = {it: entries[it] for it in entries if entries[it] != old.get(it)}
            if new_entries:
                answer = {"id": entries["id"], "answer 200": entries["answer 200"]}
                contract["operations"][name] = answer | new_entries
    return _whole(contract["operations"], contract["schemas"], schemas)


def current() -> dict[Path, Contract]:
    """Return the contracts of the service as it is now, by the files that record them."""
    features = discover()
    plain = [replace(feature, additions=()) for feature in features]
    document = _document(plain)
    folders = {name: source.folder / "tests" for name, source in sources().items()}
    contracts = {tag["name"]: contract_of(document, tag["name"]) for tag in document["tags"]}
    for feature in features:
        if feature.additions:
            extended = _document([*(it for it in plain if it.name != feature.name), feature])
            contract = contracts[feature.name]
            contracts[feature.name] = with_additions(contract, document, extended)
    return {
        folders.get(name, Path(__file__).parent) / FILE: contract
        for name, contract in contracts.items()
    }


def _document(features: list[Feature]) -> Schema:
    return create_app(Settings(database_url="sqlite://", _env_file=None), features).openapi()


def recorded(file: Path) -> Contract:
    """Return a recorded contract; an empty one where there is none."""
    if not file.exists():
        return {"operations": {}, "schemas": {}}
    contract: Contract = json.loads(file.read_text())
    return contract


def text(value: Any, level: int = 0) -> str:
    """Return JSON with a line for each entry of an operation and each keyword of a schema."""
    if level == LEVELS or not isinstance(value, dict) or not value:
        return json.dumps(value, sort_keys=True)
    indent = "  " * (level + 1)
    lines = [f"{indent}{json.dumps(key)}: {text(value[key], level + 1)}" for key in sorted(value)]
    return "{\n" + ",\n".join(lines) + "\n" + "  " * level + "}"


def main() -> int:
    """Record the contracts, and print the breaches of the ones before."""
    for file, contract in current().items():
        for breach in breaches(recorded(file), contract):
            sys.stdout.write(f"breaks clients: {breach}\n")
        file.write_text(text(contract) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
