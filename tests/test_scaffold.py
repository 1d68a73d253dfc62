"""What ``vibetracker new`` writes passes everything that the rest of the project passes."""

import re
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI

import vibetracker.features
from vibetracker.cli import main
from vibetracker.cli import new as scaffold
from vibetracker.cli.needs import owners_of_tables
from vibetracker.cli.new.fields import KINDS, kinds_of
from vibetracker.core.discovery import Source, sources

from .processes import COMMAND, PLAIN_PYTEST, call, copy_project

ONE_OF_EACH = [
    *("title:str", "body:text?", "count:int(0..)", "weight:float?", "pinned:bool"),
    *("due:date?", "seen_at:datetime", "mood:enum(good|bad)=good"),
]
WITH_LIMITS = [
    *("code:str(3..3)", "nick:str?", """motto:str(..80)=don't "pay" or \\""", "essay:text"),
    *("remark:text(..500)=none", "rating:int(1..5)=3", "floor:int(-3..)?", "size:int"),
    *("ratio:float(0..1)=0.5", "height:float(..3)?", "width:float", "urgent:bool=true"),
    *("checked:bool?", "born_on:date", "sent_at:datetime?", "color:enum(red|green)?"),
    *("shape:enum(round|square|other)", "note:str", "session:str", "data:str", "value:int?"),
    *("line:str", "order:int?", "type:str?", "limit:int", "empty:str(0..)", "letter:str(1..1)"),
]

type Files = dict[Path, bytes]


def files(folder: Path) -> Files:
    """Read every file of a folder but Python's caches."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def fields_of_features(app: FastAPI) -> list[str]:
    """Return a field of each type that the features bring: their rows, and what they offer."""
    brought = kinds_of(sources()).keys() - KINDS.keys()
    rows = brought - {feature.name for feature in app.state.features}
    return [f"{kind}:{kind}" for kind in brought] + [f"other_{kind}:{kind}?" for kind in rows]


@pytest.fixture
def project(tmp_path: Path, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the project, in which a new feature is written.

    The application is imported first, so that it is not imported from the copy.
    """
    assert app.state.features
    copy_project(tmp_path, tests=True)
    folder = tmp_path / "vibetracker" / "features"
    monkeypatch.setattr(vibetracker.features, "__path__", [str(folder)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(*arguments: str) -> int:
    """Run ``vibetracker new`` and return its exit status."""
    return main(["new", *arguments])


def run_tests(project: Path, *arguments: str) -> None:
    """Run pytest in a copy of the project."""
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider")
    call(*pytest_, *arguments, folder=project, PYTHONPATH=".", **PLAIN_PYTEST)


def test_what_it_is_about_becomes_a_sentence(project: Path) -> None:
    assert new("gizmos", "--about", "What turns, and hums ") == 0
    about = project / "vibetracker" / "features" / "gizmos" / "__init__.py"
    assert about.read_text() == '"""What turns, and hums."""\n'


@pytest.mark.slow
def test_a_feature_with_every_type_of_field_passes_its_tests(project: Path, app: FastAPI) -> None:
    fields = [*ONE_OF_EACH, *fields_of_features(app)]
    assert set(KINDS) <= {re.split(r"[:(?=]", field)[1] for field in fields}
    assert new("--singular", "every_gizmo", "gizmos", *fields) == 0
    run_tests(project, "vibetracker/features/gizmos")


@pytest.mark.slow
def test_it_is_formatted_and_free_of_lint(project: Path, app: FastAPI) -> None:
    assert new("gizmos", *ONE_OF_EACH, *WITH_LIMITS, *fields_of_features(app)) == 0
    for check in (["format", "--check"], ["check"]):
        call(sys.executable, "-m", "ruff", *check, "--no-cache", ".", folder=project)


@pytest.mark.slow
def test_it_passes_all_that_the_project_does_whatever_its_fields(
    project: Path, app: FastAPI
) -> None:
    folder = "vibetracker/features/gizmos"
    assert new("gizmos", *ONE_OF_EACH, *WITH_LIMITS, *fields_of_features(app)) == 0
    run_tests(project, folder)
    run_tests(project, folder, "--postgres")
    call(sys.executable, "-m", "mypy", "--cache-dir=/dev/null", folder, folder=project)
    contracts = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    call(sys.executable, "-c", contracts, "--no-cache", folder=project, PYTHONPATH=".")
    call(COMMAND, "check", folder=project, PYTHONPATH=".")


def test_it_says_what_it_wrote_and_where_it_will_be(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(project)
    assert new("gizmos") == 0
    after = files(project)
    folder = Path("vibetracker/features/gizmos")
    assert {path for path in after if after[path] != before.get(path)} == {
        folder / name
        for name in (
            *("__init__.py", "model.py", "schema.py", "router.py"),
            *("tests/factory.py", "tests/test_gizmos.py"),
        )
    }
    assert before.keys() < after.keys()
    said = capsys.readouterr().out
    assert str(folder) in said
    assert f"pytest {folder}" in said
    assert "http://127.0.0.1:8000/gizmos" in said


def test_what_is_left_of_a_deleted_feature_is_not_in_the_way(project: Path) -> None:
    cache = project / "vibetracker/features/gizmos/__pycache__/model.cpython-312.pyc"
    cache.parent.mkdir(parents=True)
    cache.touch()
    assert new("gizmos") == 0
    assert not cache.exists()


REFUSED = {
    "Notes": "a name is lower-case words",
    "my-gizmos": "a name is lower-case words",
    "../gizmos": "a name is lower-case words",
    "gizmos_": "a name is lower-case words",
    "n" * 30 + "s": "at most 30 characters",
    "class": "no keyword of Python",
    "docs": "its path belongs to the application itself",
    "problems": "its path belongs to the application itself",
    "gizmo": "its name is a plural",
    "sheep": "its name is a plural",
    "lists": "the code of a feature calls something else so",
    "pages": "the code of a feature calls something else so",
    "--singular gizmo gizmo": "its name is a plural",
    "--singular Gizmo gizmos": "a name is lower-case words",
    "--about two\nlines gizmos": "one line of text",
    "gizmos title": "write name:type",
    "gizmos :str": "a name is lower-case words",
    "gizmos title:": "write name:type",
    "gizmos title:string": "there is no type 'string'; there are str, text, int",
    "gizmos title:str title:text": "there are two of this name",
    "gizmos class:str": "no keyword of Python",
    "gizmos Title:str": "a name is lower-case words",
    "gizmos id:int": "every resource has an attribute of this name",
    "gizmos version:int": "every resource has an attribute of this name",
    "gizmos created_at:datetime": "every resource has an attribute of this name",
    "gizmos metadata:str": "every resource has an attribute of this name",
    "gizmos model_config:str": "every resource has an attribute of this name",
    "gizmos date:date": "a type is called so",
    "gizmos limit:bool": "there are two of this name",
    "gizmos fields:bool": "there are two of this name",
    "gizmos default:str": "there are two of this name",
    "gizmos self:text": "every resource has an attribute of this name",
    "gizmos updated_on:date": "'updated_after': there are two of this name",
    "gizmos due_on:date due_at:datetime": "'due_after': there are two of this name",
    "gizmos title:str?=x": "either a default or ?",
    "gizmos title:str(5..1)": "low..high",
    "gizmos title:str(1-5)": "low..high",
    "gizmos title:str(1..20000)": "lie within 0..10000",
    "gizmos title:str(..0)": "low..high",
    "gizmos title:str(0..0)": "leave no choice",
    "gizmos title:str(..3)=long": "its default lies within them",
    "gizmos title:str=$5": "has no $",
    "gizmos count:int=many": "its default lies within them",
    "gizmos count:int(1..3)=4": "its default lies within them",
    "gizmos count:int(2..2)": "leave no choice",
    "gizmos count:int(..9007199254740992)": "lie within -9007199254740991..9007199254740991",
    "gizmos weight:float=nan": "its default lies within them",
    "gizmos pinned:bool=yes": "its default is true or false",
    "gizmos pinned:bool(1..2)": "takes no limits",
    "gizmos due:date=today": "takes no default",
    "gizmos mood:enum": "written as in enum(low|high)",
    "gizmos mood:enum(good)": "written as in enum(low|high)",
    "gizmos mood:enum(good|good)": "written as in enum(low|high)",
    "gizmos mood:enum(good|bad)=fair": "is none of its values",
}


@pytest.fixture(scope="module")
def found() -> dict[str, Source]:
    """Return where the features are."""
    return sources()


@pytest.mark.parametrize(("arguments", "reason"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_written_is_refused_with_the_reason(
    arguments: str,
    reason: str,
    app: FastAPI,
    found: dict[str, Source],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is written; in the folder of the project itself, so that it is seen if it is."""
    # Found once for all cases; that takes longer than everything else in them.
    monkeypatch.setattr(scaffold, "discover", lambda: app.state.features)
    monkeypatch.setattr(scaffold, "sources", lambda: found)
    (root,) = vibetracker.features.__path__
    before = sorted(Path(root).iterdir())
    try:
        assert new(*arguments.split(" ")) == 2
    finally:
        assert sorted(Path(root).iterdir()) == before
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


def test_the_names_of_what_is_there_are_taken(
    app: FastAPI, capsys: pytest.CaptureFixture[str]
) -> None:
    features = app.state.features
    for name in {*(feature.name for feature in features), *owners_of_tables(features)}:
        assert new("--singular", "something", name) == 2
        assert repr(name) in capsys.readouterr().err


def test_the_help_explains_every_type(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        new("--help")
    said = capsys.readouterr().out
    for kind in KINDS:
        assert re.search(rf"^  {kind} ", said, re.MULTILINE)
