"""The operations of an OpenAPI document, so that a new feature is tested without being named."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

type Schema = dict[str, Any]


@dataclass(frozen=True)
class Documented:
    """An operation as its document describes it."""

    method: str
    path: str
    spec: Schema
    document: Schema

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def url(self) -> str:
        """Return a URL with a valid id that no resource has."""
        return re.sub(r"\{\w+\}", "4711", self.path)

    def parameters(self, place: str) -> dict[str, Schema]:
        """Return the schemas of the parameters in ``path``, ``query`` or ``header``, by name."""
        return {
            parameter["name"]: parameter["schema"]
            for parameter in self.spec.get("parameters", ())
            if parameter["in"] == place
        }

    @property
    def media_types(self) -> Schema:
        """Return what the body can be, by media type; empty for an operation without one."""
        content: Schema = self.spec.get("requestBody", {}).get("content", {})
        return content

    @cached_property
    def body(self) -> Schema | None:
        """Return the schema of the body; None for an operation without one, or with no JSON."""
        if "application/json" not in self.media_types or self.takes_file:
            return None
        return self.resolve(self.media_types["application/json"]["schema"])

    @property
    def takes_file(self) -> bool:
        """Return whether the body is a file."""
        return "application/octet-stream" in self.media_types

    @property
    def is_open(self) -> bool:
        """Return whether neither credentials nor parameters are required, but those of the path."""
        required = {it["in"] for it in self.spec.get("parameters", ()) if it["required"]}
        return not self.spec.get("security") and required <= {"path"}

    @property
    def writes(self) -> bool:
        """Return whether it writes in a transaction, so that it can be tried."""
        return "dry_run" in self.parameters("query")

    @property
    def body_members(self) -> list[str]:
        """Return the names of the members that the body can have."""
        return list((self.body or {}).get("properties", ()))

    def answer(self, status: int) -> Schema:
        """Return the schema of a response; empty where it has no body."""
        content = self.spec["responses"].get(str(status), {}).get("content", {})
        return self.resolve(content.get("application/json", {}).get("schema", {}))

    def resolve(self, schema: Schema) -> Schema:
        """Return the schema that a ``$ref`` refers to; any other schema as it is."""
        if "$ref" in schema:
            found: Schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            return found
        return schema


def operations(app: FastAPI) -> list[Documented]:
    """Return the operations that an application documents."""
    document = app.openapi()
    return [
        Documented(method.upper(), path, spec, document)
        for path, methods in document["paths"].items()
        for method, spec in methods.items()
    ]


def errors_of(client: TestClient, method: str, url: str, **options: Any) -> list[dict[str, str]]:
    """Send a request that has to be a 422, and return its ``errors``."""
    response = client.request(method, url, **options)
    assert response.status_code == 422, f"{method} {url}: {response.status_code} {response.text}"
    errors: list[dict[str, str]] = response.json()["errors"]
    return errors
