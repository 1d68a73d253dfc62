"""The house rules: who imports whom, what a feature looks like, and that nothing names one."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

import vibetracker.features
from vibetracker.cli import main
from vibetracker.cli.needs import needs
from vibetracker.core.discovery import sources

from .processes import as_shipped

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
    "The core is built in layers": {
        "core/db/four.py": "import vibetracker.core.http.problems",
    },
    "Nothing imports the command line": {
        "features/beta/commands.py": "import vibetracker.cli.serve",
    },
    "Only tests import what tests are built from": {
        "core/three.py": "import vibetracker.testing",
    },
}


def lint_imports(project: Path) -> dict[str, str]:
    """Check a project's contracts, and return the verdict on each."""
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


@pytest.mark.slow
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


def test_every_feature_keeps_the_rules_of_the_house(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["check"])
    assert (capsys.readouterr().out, status) == ("", 0)


def test_only_a_feature_and_those_that_need_it_name_it() -> None:
    """Nothing else refers to a feature whose folder is deleted.

    Left out are files about the product as it is shipped: documents, the container, benchmarks,
    and some tests.
    """
    paths = [
        *(path for path in PROJECT.iterdir() if path.suffix in {".py", ".toml", ".yml"}),
        *(path for root in ("vibetracker", "tests", ".ci") for path in (PROJECT / root).rglob("*")),
    ]
    left_out = {*as_shipped()}
    files = {
        path: path.read_text()
        for path in paths
        if path.suffix in {".py", ".py-tpl", ".toml", ".yml", ""}
        and path.is_file()
        and left_out.isdisjoint((path, *path.parents))
    }
    assert PROJECT / "vibetracker" / "cli" / "serve.py" in files
    features = sources()
    folders = {
        name: [feature.folder, *(f.folder for f in features.values() if name in needs(f, features))]
        for name, feature in features.items()
    }
    for path, text in files.items():
        named = re.findall(r"(?:(?<![\w.])/|features[./])(?=(\w+))", text)
        for name in folders.keys() & {*named}:
            assert any(map(path.is_relative_to, folders[name])), f"{path} names {name}"
