"""A feature that is installed as a distribution of its own is mounted like a folder."""

import sys
from pathlib import Path
from textwrap import dedent
from zipfile import ZipFile

import httpx2
import pytest

from .processes import COMMAND, ROOT, call, copy_project, running

OUTSIDE = ROOT / "tests" / "outside"


def built(project: Path, folder: Path) -> Path:
    """Build the wheel of a project, and return its path."""
    pytest.importorskip("hatchling", reason="the dev extra brings it")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=project)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the distribution beside the project, and return the environment that has both."""
    folder = tmp_path_factory.mktemp("outside")
    with ZipFile(built(OUTSIDE, folder)) as wheel:
        wheel.extractall(folder / "site")
    return {"PYTHONPATH": f"{ROOT}:{folder / 'site'}"}


@pytest.mark.slow
def test_it_is_served_like_any_other(installed: dict[str, str], tmp_path: Path) -> None:
    with running("dev", folder=tmp_path, **installed) as server:
        address = f"{server.origin}/greetings"
        created = httpx2.post(address, json={"text": " Hello "})
        assert (created.status_code, created.headers["location"]) == (201, "/greetings/1")
        assert httpx2.get(f"{address}/1").json() == {"id": 1, "text": "Hello", "version": 1}
        assert httpx2.post(address, json={"txt": "Hello"}).status_code == 422


@pytest.mark.slow
def test_it_is_listed_with_where_it_comes_from(installed: dict[str, str], tmp_path: Path) -> None:
    listed = call(COMMAND, "features", folder=tmp_path, **installed)
    assert (
        dedent("""\
            greetings
              origin  vibetracker-greetings 1.2
              routes  POST /greetings, GET /greetings/{greeting_id}
              tables  greetings
              needs   -
        """)
        in listed
    )
    assert "  origin  folder\n" in listed


@pytest.mark.slow
def test_it_can_be_disabled(installed: dict[str, str], tmp_path: Path) -> None:
    disabled = {"DISABLED_FEATURES": "greetings"}
    assert "greetings" in call(COMMAND, "openapi", folder=tmp_path, **installed)
    assert "greetings" not in call(COMMAND, "openapi", folder=tmp_path, **installed, **disabled)
    assert "greetings" not in call(COMMAND, "features", folder=tmp_path, **installed, **disabled)


@pytest.mark.slow
def test_it_is_checked_like_any_other(installed: dict[str, str], tmp_path: Path) -> None:
    assert call(COMMAND, "check", folder=tmp_path, **installed) == ""
    router = next(Path(installed["PYTHONPATH"].partition(":")[2]).rglob("router.py"))
    sound = router.read_text()
    router.write_text(sound.replace("def create_greeting", "def greet"))
    with pytest.raises(AssertionError, match="greet is not named for what it does"):
        call(COMMAND, "check", folder=tmp_path, **installed)
    router.write_text(sound)


@pytest.mark.slow
def test_a_name_that_a_folder_has_is_refused(installed: dict[str, str], tmp_path: Path) -> None:
    copied = copy_project(tmp_path)
    (tmp_path / "vibetracker" / "features" / "greetings").mkdir()
    (tmp_path / "vibetracker" / "features" / "greetings" / "router.py").touch()
    path = f"{copied['PYTHONPATH']}:{installed['PYTHONPATH'].partition(':')[2]}"
    with pytest.raises(AssertionError, match="it comes from folder and from vibetracker-greetings"):
        call(COMMAND, "features", folder=tmp_path, PYTHONPATH=path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of the project."""
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_of_the_project_has_what_new_features_are_made_of(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    made_of = {
        str(path.relative_to(ROOT))
        for pattern in ("cli/new/**/*.py-tpl", "cli/new/*.toml", "features/*/field.toml")
        for path in (ROOT / "vibetracker").glob(pattern)
    }
    assert made_of
    assert made_of <= names
    assert not [name for name in names if "/tests/test_" in name and "templates" not in name]


@pytest.mark.slow
def test_tests_are_not_missed_where_a_wheel_has_left_them_out(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    assert call(COMMAND, "check", folder=tmp_path, PYTHONPATH=str(site)) == ""
    added = site / "vibetracker" / "features" / "added"
    added.mkdir()
    (added / "__init__.py").write_text('"""Added later."""\n')
    (added / "router.py").write_text(
        "from vibetracker.core.api.routing import Router\n"
        'router = Router("/added", description="Added later.")\n'
    )
    with pytest.raises(AssertionError, match=r"test_added\.py:1: the feature has no tests"):
        call(COMMAND, "check", folder=tmp_path, PYTHONPATH=str(site))
