"""A feature works with nothing but what it needs, and everything else works without it."""

import shutil
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from vibetracker.cli.needs import needs, with_needs
from vibetracker.core.discovery import sources

from .processes import ROOT, as_shipped, call

FEATURES = sources()
NEEDED = {need for feature in FEATURES.values() for need in needs(feature, FEATURES)}
UNNEEDED = sorted(FEATURES.keys() - NEEDED)
FOREIGN = {
    "model": """
        from sqlalchemy.orm import Mapped

        from vibetracker.core.db.model import Resource


        class Foreign(Resource):
            __tablename__ = "foreign"
            label: Mapped[str]
    """,
    "router": """
        from typing import Annotated

        from fastapi import Depends, Form, Header, Query, UploadFile
        from fastapi.security import HTTPBearer

        from vibetracker.core.api.preconditions import find
        from vibetracker.core.api.routing import Router
        from vibetracker.core.api.schema import Input, UrlId
        from vibetracker.core.api.session import SessionDep

        from .model import Foreign

        router = Router("/foreign", description="Tested.")
        guards = [Depends(HTTPBearer())]


        class Sign(Input):
            "A sign."

            size: int


        @router.get("")
        def list_foreign(count: Annotated[int, Query(description="How many.")] = 1) -> int:
            "List them."
            return count


        @router.get("/{name}/of/{number}")
        def get_foreign(name: str, number: int, x_sign: Annotated[str, Header()]) -> str:
            "Get one."
            return f"{name} {number} {x_sign}"


        @router.post("", status_code=201)
        def create_foreign(session: SessionDep, label: Annotated[str, Form()]) -> dict[str, str]:
            "Create one."
            session.add(Foreign(label=label))
            return {"label": label}


        @router.post("/file")
        def upload_foreign(file: UploadFile) -> str | None:
            "Upload one."
            return file.filename


        @router.put("/sign", dependencies=guards)
        def set_the_sign_of_everything_foreign(data: Sign) -> int:
            "Set the sign."
            return data.size


        @router.delete("/{foreign_id}", status_code=204, dependencies=guards)
        def delete_foreign(session: SessionDep, foreign_id: UrlId) -> None:
            "Delete one."
            session.delete(find(session, Foreign, foreign_id))


        @router.delete("/{foreign_id}/sign", status_code=204, dependencies=guards)
        def delete_sign(foreign_id: UrlId) -> None:
            "Delete its sign."
    """,
}
"""Modules of a feature of ordinary FastAPI, which nothing here expects."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the whole project."""
    left_out = (".git", ".venv", "venv", ".*_cache", "__pycache__", "*.db*", "*.egg-info")
    shutil.copytree(
        ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(*left_out), symlinks=True
    )
    return tmp_path / "copy"


def passes(project: Path, *arguments: str) -> None:
    """Run pytest in a copy of the project."""
    command = (sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", *arguments)
    call(*command, folder=project, PYTHONPATH=str(project))


def write(project: Path, name: str, **modules: str) -> None:
    """Write a feature of a single operation."""
    router = f"""
        from vibetracker.core.api.routing import Router

        router = Router("/{name}", description="Tested.")


        @router.delete("", status_code=204)
        def delete_{name}() -> None:
            "Delete it."
    """
    for module, text in {"__init__": "", "router": router, **modules}.items():
        path = project / "vibetracker" / "features" / name / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))


@pytest.mark.slow
def test_a_run_of_one_feature_loads_it_and_its_needs_alone(project: Path) -> None:
    test = """
        import sys

        PACKAGE = "vibetracker.features."


        def test_what_is_loaded(client):
            names = {feature.name for feature in client.app.state.features}
            loaded = {name.split(".")[2] for name in sys.modules if PACKAGE in name}
            assert names == loaded == {"alpha", "beta"}
            assert client.delete("/beta").status_code == 204
    """
    write(project, "alpha", model="from vibetracker.features.beta import schema")
    write(project, "beta", schema="")
    write(project, "gamma", router="raise RuntimeError")
    folder = project / "vibetracker/features/alpha/tests"
    folder.mkdir()
    (folder / "test_alpha.py").write_text(dedent(test))
    passes(project, "vibetracker/features/alpha")


@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_passes_its_tests_with_nothing_but_its_needs(project: Path, name: str) -> None:
    for other in FEATURES.keys() - with_needs([name], FEATURES):
        shutil.rmtree(project / "vibetracker" / "features" / other)
    passes(project, f"vibetracker/features/{name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_passes_its_tests_beside_a_new_one(project: Path, name: str) -> None:
    write(project, "foreign", **FOREIGN)
    passes(project, f"vibetracker/features/{name}")


@pytest.mark.slow
def test_what_holds_for_every_operation_is_tested_beside_a_new_one_too(project: Path) -> None:
    write(project, "foreign", **FOREIGN)
    names = ("errors", "idempotency", "openapi", "preconditions", "strict_input")
    tests = (f"tests/test_{name}.py" for name in names)
    passes(project, "-m", "slow or not slow", *tests)


@pytest.mark.slow
def test_everything_else_passes_without_the_features_that_nobody_needs(project: Path) -> None:
    # All of them at once: the tests above check that none of them needs another one.
    for name in UNNEEDED:
        shutil.rmtree(project / "vibetracker" / "features" / name)
    left_out = [*as_shipped(), Path(__file__)]
    passes(project, "-nauto", *(f"--ignore={path.relative_to(ROOT)}" for path in left_out))


@pytest.mark.slow
@pytest.mark.parametrize("name", UNNEEDED)
def test_a_folder_that_is_deleted_leaves_no_trace_in_what_clients_see(
    project: Path, name: str
) -> None:
    def document(**changes: str) -> str:
        command = (sys.executable, "-m", "vibetracker", "openapi")
        return call(*command, folder=project, PYTHONPATH=str(project), **changes)

    whole, disabled = document(), document(DISABLED_FEATURES=name)
    shutil.rmtree(project / "vibetracker" / "features" / name)
    deleted = document()
    assert deleted == disabled != whole
    assert f'"/{name}' not in deleted
