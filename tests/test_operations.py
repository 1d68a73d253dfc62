"""What Dockerfile and compose.yml rely on, and what the service does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vibetracker.cli import main, serve
from vibetracker.core import telemetry

from .processes import ROOT, environment, running

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yml").read_text()


def exec_form(instruction: str) -> list[str]:
    """Return the command of an instruction of the Dockerfile."""
    (found,) = re.findall(rf"^{instruction} (\[.*\])$", DOCKERFILE, re.MULTILINE)
    command: list[str] = json.loads(found)
    return command


@pytest.mark.slow
def test_the_health_check_of_the_image_succeeds_while_the_service_is_alive(tmp_path: Path) -> None:
    python, *arguments = exec_form(r"    CMD")
    assert python == "python"
    settings = {"DATABASE_URL": "sqlite:///tracker.db", "ALLOWED_HOSTS": "api.example.org"}

    def check(port: str) -> int:
        return subprocess.run(  # noqa: S603 - the Dockerfile's own command
            [sys.executable, *arguments],
            env=environment(PORT=port),
            check=False,
            capture_output=True,
        ).returncode

    with running("serve", folder=tmp_path, **settings) as server:
        port = server.origin.rpartition(":")[2]
        assert check(port) == 0
        server.stop()
        assert check(port) == 1


def test_the_image_serves_with_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = exec_form("CMD")
    assert program == "vibetracker"
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    assert "usage: vibetracker serve" in capsys.readouterr().out


def test_compose_waits_as_long_as_the_service_takes_to_end() -> None:
    (grace,) = re.findall(r"^ +stop_grace_period: (\d+)s$", COMPOSE, re.MULTILINE)
    signals = 3
    assert int(grace) > serve.DRAIN_TIME + signals * telemetry.EXPORT_TIMEOUT
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"at most {serve.DRAIN_TIME} seconds" in readme
    assert f"within {signals * telemetry.EXPORT_TIMEOUT} seconds" in readme
    assert f"compose.yml waits {grace} seconds" in readme


def test_compose_names_the_settings_that_its_example_explains() -> None:
    example = (ROOT / ".env.example").read_text()
    for name in set(re.findall(r"\$\{(\w+):-", COMPOSE)):
        assert f"# {name}=" in example, name
