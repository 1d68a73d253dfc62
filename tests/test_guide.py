"""The guide to a new feature is followed as it stands."""

import os
import re
import resource
import shutil
from pathlib import Path

import pytest

from .documents import blocks, follow, turns
from .processes import COMMAND, PLAIN_PYTEST, ROOT, call, copy_project, running

GUIDE = (ROOT / "docs" / "add-a-feature.md").read_text()
BEFORE, PRACTISED, NEEDS, COMMENTS, AFTER = re.split(
    r"^## (?:What you know works|Need another.*|Hang something on.*|Bring it as.*)$",
    GUIDE,
    flags=re.MULTILINE,
)
PRACTICES = (ROOT / "tests" / "practices.py").read_text()


def machine_time() -> float:
    """Return the processor time in seconds of the child processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, ("curl", "git"))), reason="the guide talks with curl and git"
)
def test_a_feature_is_made_tested_and_served_in_twenty_seconds(tmp_path: Path) -> None:
    """Run each command of the guide, and compare each of its files with what was written."""
    project = tmp_path / "project"
    changes = copy_project(project, tests=True) | PLAIN_PYTEST
    # In this checkout the guide may have been followed already.
    shutil.rmtree(project / "vibetracker" / "features" / "notes", ignore_errors=True)
    shutil.copy(ROOT / ".gitignore", project)
    call("git", "init", "-q", folder=project)
    call("git", "add", ".", folder=project)
    changes["PATH"] = f"{COMMAND.parent}:{os.environ['PATH']}"
    shown = turns(GUIDE)
    begun = machine_time()
    work = [turn for turn in shown if "localhost:8000" not in turn[0]]
    for turn in work:
        if turn[0].startswith("git"):
            status = call("git", "status", "--short", folder=project)
            assert [line for line in status.splitlines() if not line.startswith("A ")] == [
                turn[1].strip()
            ]
        else:
            follow(turn, project, **changes)
    with running("dev", folder=tmp_path, **changes) as server:
        for turn in shown[len(work) :]:
            follow(turn, tmp_path, server.origin.removeprefix("http://"))
    assert machine_time() - begun < 20
    folder = project / "vibetracker" / "features" / "notes"
    written = [path.read_text() for path in folder.rglob("*.py")]
    for block in blocks("python", BEFORE + NEEDS + AFTER):
        assert sum(block in text for text in written) == 1, block
    whole = [text for text in written if text in blocks("python", BEFORE)]
    assert len(written) - len(whole) == 1


def test_what_it_says_works_is_what_is_tested() -> None:
    shown = blocks("python", PRACTISED)
    assert len(shown) > 20
    for block in shown:
        assert block in PRACTICES, block


def test_what_it_shows_of_comments_is_what_is_there() -> None:
    folder = ROOT / "vibetracker" / "features" / "comments"
    if not folder.is_dir():
        pytest.skip("there are no comments")
    files = {
        str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.py"))
    }
    for block in blocks("python", COMMENTS):
        assert sum(block in text for text in files.values()) == 1, block
    listed = re.findall(r"^\| `(.+\.py)` \| (\d+) \|", COMMENTS, re.MULTILINE)
    lines = {name: len(text.splitlines()) for name, text in files.items() if name != "__init__.py"}
    assert {name: int(count) for name, count in listed} == lines


def test_its_distribution_is_the_one_that_is_tested() -> None:
    (declaration,) = blocks("toml", GUIDE)
    assert declaration in (ROOT / "tests" / "outside" / "pyproject.toml").read_text()


def test_what_it_refers_to_is_there() -> None:
    core = ROOT / "vibetracker" / "core"
    for module, name in re.findall(r"`core\.([a-z.]+)\.([A-Z]\w+)`", GUIDE):
        text = (core / f"{module.replace('.', '/')}.py").read_text()
        assert re.search(rf"^class {name}\b", text, re.MULTILINE)
    for module in re.findall(r"`core\.([a-z.]+)`", GUIDE):
        assert (core / f"{module.replace('.', '/')}.py").is_file()
    for path in re.findall(r"`features\.([\w.]+)`", GUIDE):
        assert (ROOT / "vibetracker/features" / f"{path.replace('.', '/')}.py").is_file()
