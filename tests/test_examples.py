"""Each example of the OpenAPI document is true: it fits its schema, and works when it is sent."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import time, timedelta
from decimal import Decimal
from enum import StrEnum
from importlib import import_module
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastapi import FastAPI
from openapi_schema_validator import OAS31Validator
from pydantic import MISSING, ConfigDict, Field
from starlette.testclient import TestClient

from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import FROM_DIGITS, Input, Output
from vibetracker.core.api.session import get_database
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import Feature
from vibetracker.testing import Client, Factory, empty

from .operations import Documented, Schema, operations


def faults(value: Any, schema: Schema, document: Schema) -> list[str]:
    """Return the errors of a value against its schema."""
    validator = OAS31Validator({"allOf": [schema], "components": document["components"]})
    return [error.message for error in validator.iter_errors(value)]


def examples_in(part: Any, path: str = "") -> Iterator[tuple[str, Any, Schema]]:
    """Yield each example with its place in the document and its schema."""
    if isinstance(part, list):
        for index, item in enumerate(part):
            yield from examples_in(item, f"{path}/{index}")
    elif isinstance(part, dict):
        if "schema" in part:
            named = {name: shown["value"] for name, shown in part.get("examples", {}).items()}
            given = {"": part["example"]} if "example" in part else named
            for name, value in given.items():
                yield f"{path} {name}", value, part["schema"]
        elif isinstance(part.get("examples"), list):
            for value in part["examples"]:
                yield path, value, part
        for name, member in part.items():
            if name not in {"example", "examples"} or path.endswith("/properties"):
                yield from examples_in(member, f"{path}/{name}")


def test_every_example_fits_its_schema(app: FastAPI, specimen_app: FastAPI) -> None:
    for document in (app.openapi(), specimen_app.openapi()):
        for path, value, schema in examples_in(document):
            assert not faults(value, schema, document), path


def test_every_body_and_every_parameter_has_an_example(app: FastAPI, specimen_app: FastAPI) -> None:
    for operation in [*operations(app), *operations(specimen_app)]:
        spec = operation.spec
        bodies = [spec.get("requestBody", {}), *spec["responses"].values()]
        for content in (shown for body in bodies for shown in body.get("content", {}).values()):
            assert content.keys() & {"example", "examples"}, operation
        for parameter in spec["parameters"]:
            # Swagger UI would send an `example` of its own accord, but not those of a schema.
            assert ("example" in parameter) == (parameter["in"] == "path"), operation
            shown = parameter["schema"].keys() & {"examples", "enum", "default"}
            boolean = parameter["schema"].get("type") == "boolean"
            assert shown or boolean or parameter["in"] == "path" or parameter["name"] == "cursor"


def test_the_example_of_a_created_resource_has_the_values_of_its_request(
    app: FastAPI, specimen_app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in [*operations(app), *operations(specimen_app)]:
        created = operation.spec["responses"].get("201")
        if created is not None:
            with subtests.test(operation=str(operation)):
                sent = operation.spec["requestBody"]["content"]["application/json"]["example"]
                given = created["content"]["application/json"]["example"]
                assert given | sent == given


class Shade(StrEnum):
    """An enum that is a parameter."""

    DARK = "dark"
    LIGHT = "light"


class Not(Input):
    """A rule about another rule."""

    op: Literal["not"]
    rule: "Rule"


class Leaf(Input):
    """A rule about leaves."""

    op: Literal["leaf"]
    count: int


type Rule = Annotated[Not | Leaf, Field(discriminator="op")]


class Trunk(Input):
    """What has a root, which has a trunk again."""

    root: "Root | MISSING" = MISSING


class Root(Input):
    """What has a trunk."""

    trunk: Trunk


class Branch(Input):
    """A tree, under a title that no schema can be called by."""

    model_config = ConfigDict(title="A tree")

    name: str = Field(min_length=3, max_length=3)
    kind: str = Field(min_length=10)
    weight: float = Field(ge=0.5)
    age: int = Field(gt=5)
    depth: int = Field(le=-3)
    needles: list[str] = Field(min_length=2)
    branches: list["Branch"]
    rule: Rule
    trunk: Trunk
    code: UUID = Field(strict=False)
    felled_at: time = Field(strict=False)
    took: timedelta = Field(strict=False)
    price: Decimal = Field(strict=False, ge=2, max_digits=8, decimal_places=2)


class Sold(Output):
    """What a tree was sold for."""

    price: Decimal


def test_generated_examples_fit_their_schemas() -> None:
    router = Router("/trees", description="Tested.")

    @router.post("/{height}")
    def grow(
        height: Annotated[int, Field(le=9), FROM_DIGITS],
        data: Branch,
        shade: Shade = Shade.DARK,
        least: Annotated[int, Field(ge=2), FROM_DIGITS] = 2,
    ) -> Sold:
        return Sold(price=data.price * height * least if shade else Decimal())

    settings = Settings(database_url="sqlite://", _env_file=None)
    app = create_app(settings, features=[Feature("trees", __name__, router)])
    (grown,) = (operation for operation in operations(app) if operation.spec["tags"] == ["trees"])
    with TestClient(app) as client:
        send(client, grown)
    said = {shown["name"]: shown["description"] for shown in grown.spec["parameters"]}
    assert said.items() >= {"height": "Height.", "least": "Least.", "shade": "Shade."}.items()
    for path, value, schema in examples_in(app.openapi()):
        assert not faults(value, schema, app.openapi()), path


def populate(app: FastAPI, database: Database) -> None:
    """Create three rows with each factory of the features; their ids begin with 1.

    Where examples need more than that, a module of factories has a function ``complete``.
    """
    empty(database)
    packages = tuple(feature.package for feature in app.state.features)
    modules = []
    for package in packages:
        with suppress(ModuleNotFoundError):
            modules.append(import_module(f"{package}.tests.factory"))
    for factory in Factory.__subclasses__():
        if factory.__module__.startswith(packages):
            factory.create_batch(3)
    for module in modules:
        if hasattr(module, "complete"):
            module.complete()


OCTET_STREAM = "application/octet-stream"


def _sent(media_type: str, example: Any) -> str:
    return json.dumps(example) if media_type.endswith("json") else str(example)


def send(
    client: TestClient,
    operation: Documented,
    parameters: Mapping[str, Any] | None = None,
    place: str = "",
) -> None:
    """Send an operation's examples; the responses have to be documented and successful."""
    query = parameters if place == "query" else None
    headers = dict(parameters or {}) if place == "header" else {}
    url = operation.path
    for parameter in operation.spec["parameters"]:
        if parameter["in"] == "path":
            url = url.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
    contents = operation.spec.get("requestBody", {}).get("content", {"": {}})
    if operation.takes_file and parameters:
        # A format fits one kind of file, and an ``Idempotency-Key`` stands for one request.
        contents = {OCTET_STREAM: contents[OCTET_STREAM]}
    for media_type, content in contents.items():
        response = client.request(
            operation.method,
            url,
            params=query,
            content=_sent(media_type, content["example"]) if content else None,
            headers=headers | ({"Content-Type": media_type} if content else {}),
        )
        assert response.is_success, response.text
        # The schema requires members that `fields` leaves out.
        if response.headers.get("content-type") == "application/json" and "fields" not in (
            query or {}
        ):
            shown = operation.spec["responses"][str(response.status_code)]["content"]
            schema = shown["application/json"]["schema"]
            assert not faults(response.json(), schema, operation.document)


def test_every_example_of_a_request_works(
    client: TestClient, app: FastAPI, database: Database, subtests: pytest.Subtests
) -> None:
    populate(app, database)
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            send(client, operation)
            if operation.method != "GET":
                populate(app, database)


def test_every_example_of_a_request_works_without_a_feature_that_others_need(
    database: Database, subtests: pytest.Subtests
) -> None:
    app = create_app(
        Settings(database_url="sqlite://", disabled_features=["tasks"], _env_file=None)
    )
    app.dependency_overrides[get_database] = lambda: database
    with Client(app) as client:
        test_every_example_of_a_request_works(client, app, database, subtests)


@pytest.mark.slow
def test_every_example_of_a_parameter_works(
    client: TestClient, app: FastAPI, database: Database, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        populate(app, database)
        for parameter in operation.spec["parameters"]:
            for value in parameter["schema"].get("examples", ()):
                with subtests.test(operation=str(operation), parameter=parameter["name"]):
                    if operation.method != "GET":
                        populate(app, database)
                    send(client, operation, {parameter["name"]: value}, parameter["in"])


def test_generated_examples_work_for_a_feature_that_has_none(
    specimens: TestClient,
    specimen_app: FastAPI,
    database: Database,
    subtests: pytest.Subtests,
) -> None:
    for operation in operations(specimen_app):
        with subtests.test(operation=str(operation)):
            populate(specimen_app, database)
            if operation.spec["operationId"] != "drop_specimen":
                send(specimens, operation)
