"""Examples for the OpenAPI document, made of the schemas that they are examples of."""

from collections.abc import Iterator, Mapping
from typing import Any

type Schema = dict[str, Any]

STRINGS = {
    "date": "2026-03-01",
    "date-time": "2026-03-01T09:00:00Z",
    "time": "09:00:00Z",
    "duration": "PT1H30M",
    "uuid": "0198f2a4-6c1e-7b3d-9a58-2f4e6d8c0b1a",
}
"""What stands for a string with a format."""


def is_decimal(schema: Schema) -> bool:
    """Return whether a schema is that of a ``Decimal``, a number or a text, or null perhaps."""
    return [it.get("type") for it in schema.get("anyOf", ())][:2] == ["number", "string"]


class Examples:
    """Makes examples of the schemas of a document.

    A value is the first of its schema's ``examples``, else the one that a property of the same
    name is ``known`` to have, else its default or the plainest that fits. An object has the
    members that are required and those that have examples. What a pattern forbids needs an
    example of its own.
    """

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self.schemas = schemas
        self.known: dict[str, Any] = {}
        self._inside: list[Schema] = []

    def learn(self, schema: Schema) -> None:
        """Keep the example of an object, and its defaults, for other properties of their names.

        A file has none.
        """
        members = self._resolve(schema).get("properties", {})
        defaults = {name: member.get("default") for name, member in members.items()}
        example = self.of(schema) if members else {}
        for name, value in (defaults | example).items():
            if value is not None:
                self.known.setdefault(name, value)

    def of(self, schema: Schema, name: str = "") -> Any:
        """Make an example of a schema; ``name`` is that of the property that has it."""
        schema = self._resolve(schema)
        for example in self._explicit(schema):
            return example
        if name in self.known:
            return self.known[name]
        for keyword in ("const", "default"):
            if keyword in schema:
                return schema[keyword]
        if "enum" in schema:
            return schema["enum"][0]
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            finite = [it for it in alternatives if self._resolve(it) not in self._inside]
            nullable = {"type": "null"} in alternatives or not finite
            value = None if nullable else self.of(finite[0], name)
            # As a response has it.
            return str(value) if is_decimal(schema) and not nullable else value
        return self._plainest(schema, name)

    def _plainest(self, schema: Schema, name: str) -> Any:
        match schema.get("type"):
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "boolean":
                return False
            case "integer" | "number":
                beyond = schema.get("exclusiveMinimum", 0) + 1
                return schema.get("minimum", min(beyond, schema.get("maximum", beyond)))
            case "string":
                text = name.replace("_", " ").capitalize()[: schema.get("maxLength")]
                text = text.ljust(schema.get("minLength", 0), ".")
                return STRINGS.get(schema.get("format", ""), text)
        return None

    def _array(self, schema: Schema) -> list[Any]:
        items = schema.get("items", {})
        if items in self._inside or self._resolve(items) in self._inside:
            # A tree, whose leaves have no branches.
            return []
        self._inside.append(items)
        item = self.of(items)
        self._inside.pop()
        return [item] * max(schema.get("minItems", 1), 1)

    def _object(self, schema: Schema) -> dict[str, Any]:
        if schema in self._inside:
            return {}
        properties = schema.get("properties", {})
        shown = [
            name
            for name, member in properties.items()
            if name in schema.get("required", ()) or any(self._explicit(member))
        ]
        self._inside.append(schema)
        names = shown or list(properties)[:1]
        example = {name: self.of(properties[name], name) for name in names}
        self._inside.pop()
        return example

    def _explicit(self, schema: Schema) -> Iterator[Any]:
        schema = self._resolve(schema)
        yield from schema.get("examples", ())
        for alternative in schema.get("anyOf", ()):
            yield from self._explicit(alternative)

    def _resolve(self, schema: Schema) -> Schema:
        if "$ref" in schema:
            return {**self.schemas[schema["$ref"].rpartition("/")[2]], **schema}
        return schema
