"""The house rules that can be checked: who imports whom, and what every operation looks like."""

import inspect
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

import vibetracker.features
from vibetracker.core.schema import Input

from .operations import Schema, operations

PROJECT = Path(__file__).parents[1]

BREACHES = {
    "The core imports no feature": {
        "core/breach.py": "from vibetracker.features.alpha import model",
    },
    "A feature's router is its own": {
        "features/beta/schema.py": "from vibetracker.features.alpha.router import router",
    },
    "No two features need each other": {
        "features/alpha/model.py": """
            from typing import TYPE_CHECKING
            if TYPE_CHECKING:
                from vibetracker.features.beta import notes
        """,
        "features/beta/model.py": """
            def late():
                from vibetracker.features.alpha import notes
        """,
    },
    "The core has no cycles": {
        "core/one.py": "import vibetracker.core.two",
        "core/two.py": "import vibetracker.core.one",
    },
    "Only tests import what tests are built from": {
        "core/three.py": "import vibetracker.testing",
    },
}


def lint_imports(project: Path) -> dict[str, str]:
    """Check a project's contracts, and give the verdict on each."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=project,
        env={"PYTHONPATH": str(project)},
        check=False,
        capture_output=True,
        text=True,
    )
    lines = [line.rpartition(" ") for line in done.stdout.splitlines()]
    return {name: verdict for name, _, verdict in lines if verdict in {"KEPT", "BROKEN"}}


def test_the_import_contracts_are_kept_and_name_no_feature() -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert lint_imports(PROJECT) == {contract["name"]: "KEPT" for contract in settings["contracts"]}
    (root,) = vibetracker.features.__path__
    for feature in Path(root).glob("*/__init__.py"):
        assert feature.parent.name not in str(settings)


def test_the_import_contracts_notice_a_breach_by_features_not_yet_written(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "tests")
    shutil.copytree(PROJECT / "vibetracker", tmp_path / "vibetracker", ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    modules = {
        f"features/{feature}/{module}.py": ""
        for feature in ("alpha", "beta")
        for module in ("__init__", "model", "schema", "router", "notes")
    }
    for breach in BREACHES.values():
        modules |= breach
    for name, source in modules.items():
        path = tmp_path / "vibetracker" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(source))
    assert lint_imports(tmp_path) == dict.fromkeys(BREACHES, "BROKEN")


def test_features_import_their_own_modules_relatively_and_others_absolutely() -> None:
    (root,) = vibetracker.features.__path__
    for path in Path(root).rglob("*.py"):
        own = f"vibetracker.features.{path.relative_to(root).parts[0]}"
        if "tests" not in path.relative_to(root).parts:
            source = path.read_text()
            assert f"from {own} " not in source, path
            assert f"from {own}." not in source, path
            assert f"import {own}" not in source, path


def test_every_feature_has_tests_of_its_own() -> None:
    (root,) = vibetracker.features.__path__
    for feature in Path(root).glob("*/__init__.py"):
        assert list(feature.parent.glob("tests/test_*.py")), feature.parent.name


def test_an_operation_is_named_like_its_handler_and_tagged_like_its_folder(app: FastAPI) -> None:
    document = app.openapi()["paths"]
    for feature in app.state.features:
        for operation in feature.operations:
            spec = document[operation.path_format][operation.verb.lower()]
            assert spec["operationId"] == inspect.unwrap(operation.endpoint).__name__
            assert spec["tags"] == [feature.name]
            assert operation.path_format.startswith(f"/{feature.name}")


def test_every_operation_is_explained(app: FastAPI, subtests: pytest.Subtests) -> None:
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            assert operation.spec["summary"]
            assert operation.spec["description"].endswith(".")
            for parameter in operation.spec.get("parameters", ()):
                assert parameter.get("description"), parameter["name"]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Give the models that values of this type are made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for argument in get_args(getattr(annotation, "__value__", annotation)):
        yield from models_in(argument)


def test_every_body_is_strict_all_the_way_down(app: FastAPI, subtests: pytest.Subtests) -> None:
    for feature in app.state.features:
        for operation in feature.operations:
            if operation.body_field is None:
                continue
            with subtests.test(operation=operation.name):
                for model in models_in(operation.body_field.field_info.annotation):
                    assert issubclass(model, Input), model
                    assert model.model_config["extra"] == "forbid", model
                    assert model.model_config["strict"], model


def schemas_in(schema: Any, document: Schema, seen: set[str]) -> Iterator[Schema]:
    """Give a schema and all that it refers to or is made of."""
    if isinstance(schema, dict):
        yield schema
        place, _, name = str(schema.get("$ref", "")).rpartition("/")
        if place == "#/components/schemas" and name not in seen:
            seen.add(name)
            yield from schemas_in(document["components"]["schemas"][name], document, seen)
        for value in schema.values():
            yield from schemas_in(value, document, seen)
    elif isinstance(schema, list):
        for item in schema:
            yield from schemas_in(item, document, seen)


def test_every_body_is_documented_as_closed(app: FastAPI, subtests: pytest.Subtests) -> None:
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            for schema in schemas_in(operation.spec.get("requestBody"), operation.document, set()):
                if schema.get("type") == "object" and "properties" in schema:
                    assert schema["additionalProperties"] is False, schema.get("title")


def test_bounds_are_documented_in_the_words_of_json_schema(app: FastAPI) -> None:
    document = app.openapi()
    words = {"ge", "gt", "le", "lt", "min_length", "max_length", "multiple_of"}
    for schema in schemas_in(document, document, set()):
        assert not words & schema.keys(), schema


def test_every_text_and_list_of_a_body_has_an_end(app: FastAPI, subtests: pytest.Subtests) -> None:
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            for schema in schemas_in(operation.spec.get("requestBody"), operation.document, set()):
                if schema.get("type") == "string" and not {"enum", "const", "format"} & set(schema):
                    assert "maxLength" in schema or "pattern" in schema, schema
                if schema.get("type") == "array" and "items" in schema:
                    assert "maxItems" in schema, schema
