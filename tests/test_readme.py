"""The README does what it says."""

import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vibetracker.cli import main
from vibetracker.core.config import Settings

from .processes import ROOT, copy_project, environment, running

README = (ROOT / "README.md").read_text()
VOLATILE = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z": "<time>",
    r'"request_id": "[^"]+"': '"request_id": "<id>"',
}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def steady(text: str) -> str:
    for pattern, shape in VOLATILE.items():
        text = re.sub(pattern, shape, text)
    return text


@pytest.mark.skipif(shutil.which("curl") is None, reason="the conversation is one with curl")
def test_the_conversation_goes_as_it_is_shown(tmp_path: Path) -> None:
    shown = "".join(blocks("console"))
    turns = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", shown, re.MULTILINE)
    assert len(turns) == shown.count("$ curl")
    changes = copy_project(tmp_path / "project")
    with running("dev", folder=tmp_path, **changes) as server:
        address = server.origin.removeprefix("http://")
        for command, answer in turns:
            said = subprocess.run(  # noqa: S603 - the README's own commands
                ["/bin/bash", "-c", command.replace("localhost:8000", address)],
                cwd=tmp_path,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            assert steady(said).rstrip("\n") == steady(answer).rstrip("\n"), command


def test_the_table_has_every_setting() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*)`)? ?\| (.+) \|$", README, re.MULTILINE)
    expected = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, list):
            default = ",".join(default)
        text = str(default).lower() if isinstance(default, bool) else str(default)
        expected.append((name.upper(), text, field.description))
    assert rows == expected


def test_the_feature_that_it_adds_works(tmp_path: Path) -> None:
    changes = copy_project(tmp_path / "project")
    guide = README.split("## Add a feature")[1].split("\n## ")[0]
    names = ["__init__", "model", "schema", "router", "tests/factory", "tests/test_notes"]
    folder = tmp_path / "project" / "vibetracker" / "features" / "notes"
    for name, content in zip(names, blocks("python", guide), strict=True):
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    tools = [
        ["pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        ["ruff", "check", "--no-cache", str(folder)],
    ]

    def run(tool: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own arguments
            [sys.executable, "-m", *tool],
            cwd=tmp_path / "project",
            env=environment(**changes),
            check=False,
            capture_output=True,
            text=True,
        )

    with ThreadPoolExecutor() as pool:
        for done in pool.map(run, tools):
            assert done.returncode == 0, done.stdout + done.stderr


def test_what_its_commands_refer_to_exists() -> None:
    for path in ("compose.yml", "Dockerfile", ".env.example"):
        assert (ROOT / path).is_file()
    for module in re.findall(r"python -m ((?!venv)[\w.]+)", README):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    for path in re.findall(r"pytest (vibetracker/features/(?!notes)\w+)", README):
        assert (ROOT / path).is_dir()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert list(project["scripts"]) == ["vibetracker"]
    for extra in re.findall(r"--extra (\w+)|'\.\[(\w+)\]'", README):
        assert "".join(extra) in project["optional-dependencies"]


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"vibetracker (dev|serve|seed|openapi|new|check)\b", README)))
)
def test_the_commands_that_it_names_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: vibetracker {command}" in capsys.readouterr().out


def test_the_commands_for_a_fresh_machine_stand_where_ci_finds_them() -> None:
    for mark in ("run", "test"):
        block = README.split(f"<!-- {mark} -->\n", 1)[1]
        assert block.startswith("```sh\npython3.12 -m venv .venv && ")
