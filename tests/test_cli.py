"""The command ``vibetracker`` as people and orchestrators run it."""

import importlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType

import httpx2
import psycopg2
import pytest
from fastapi import FastAPI
from sqlalchemy import make_url
from starlette.testclient import TestClient
from starlette.types import Scope

import vibetracker.features
from vibetracker import __version__, cli
from vibetracker.cli.fallback import fallback
from vibetracker.core.discovery import sources
from vibetracker.core.http.problems import Unavailable, render

from .processes import COMMAND, copy_project, environment, running


def run(
    *arguments: str, folder: Path, command: Sequence[str | Path] = (COMMAND,), **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run the command, or another one, and return the completed process."""
    return subprocess.run(  # noqa: S603 - our own arguments
        [*command, *arguments],
        cwd=folder,
        env=environment(**settings),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_shows_examples_without_loading_the_application(tmp_path: Path) -> None:
    program = (
        "import sys; from vibetracker.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    result = run(program, command=(sys.executable, "-c"), folder=tmp_path)
    assert result.returncode == 0
    assert "vibetracker serve --workers" in result.stdout
    loaded = set(result.stderr.split())
    assert "vibetracker.cli" in loaded
    assert not loaded & {"fastapi", "pydantic", "sqlalchemy", "uvicorn"}


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["factory", "ruff"])
def test_new_says_that_it_needs_the_dev_extra(missing: str, tmp_path: Path) -> None:
    program = (
        f"import sys; sys.modules['{missing}'] = None\n"
        "from vibetracker.cli import main; sys.exit(main(['new', 'notes']))"
    )
    result = run(program, command=(sys.executable, "-c"), folder=tmp_path)
    assert result.returncode == 2
    assert "needs the extra `dev`" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    ["dev", "serve", "seed", "export", "import", "openapi", "new", "check", "features"],
)
def test_the_help_of_a_command_has_examples_and_fits_a_terminal(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    shown = capsys.readouterr().out
    assert re.search(rf"^examples?:\n(  .*\n)*  .*vibetracker {command}", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) < 80


def test_shells_can_complete_it() -> None:
    shtab = pytest.importorskip("shtab", reason="needs the dev extra's shtab")
    # What `shtab --shell=bash vibetracker.cli.parser` prints.
    script = shtab.complete(cli.parser(), "bash")
    assert "subparsers=(dev serve seed " in script
    assert "seed_option_strings=(-h --help --count --seed --append)" in script


def test_version(tmp_path: Path) -> None:
    assert run("--version", folder=tmp_path).stdout == f"vibetracker {__version__}\n"


@pytest.mark.slow
def test_seed_fills_an_empty_database_and_refuses_another_one(tmp_path: Path) -> None:
    made = run("seed", "--count", "30", folder=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert re.search(r"^tasks: 30 in [\d.]+ s, \d+ per second$", made.stdout, re.MULTILINE)
    refused = run("seed", folder=tmp_path)
    assert refused.returncode == 2
    assert re.fullmatch(r"vibetracker: .*vibetracker\.db has rows in .*--append\n", refused.stderr)


def test_the_package_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vibetracker", "--version"],
        cwd=tmp_path,
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"vibetracker {__version__}\n"


@pytest.mark.slow
def test_openapi_prints_the_same_document_in_every_process(tmp_path: Path, app: FastAPI) -> None:
    printed = run("openapi", folder=tmp_path, PYTHONHASHSEED="7").stdout
    assert printed == json.dumps(app.openapi(), indent=2, sort_keys=True) + "\n"
    assert json.loads(printed)["openapi"].startswith("3.")


@pytest.mark.slow
def test_dev_keeps_tags_over_a_restart_and_says_where(tmp_path: Path) -> None:
    copied = copy_project(tmp_path)
    with running("dev", folder=tmp_path, **copied) as server:
        assert f"no DATABASE_URL is set: the data is in {tmp_path}" in "".join(server.lines)
        with httpx2.Client(base_url=server.origin) as client:
            tag = client.post("/tags", json={"name": "home"})
            assert tag.status_code == 201
            assert "server" not in tag.headers
            statuses = {
                host: client.get("/tags", headers={"Host": host}).status_code
                for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "tracker.example.org")
            }
    assert list(statuses.values()) == [200, 200, 200, 400]
    assert server.process.returncode == 0
    log = "".join(server.lines)
    assert log.count("POST /tags 201") == 1
    assert all(re.match(r"\d{4}-\d\d-\d\d .* \[\S+\] ", line) for line in log.splitlines()), log
    with running("dev", folder=tmp_path, **copied) as server:
        assert httpx2.get(f"{server.origin}/tags/1").json() == tag.json()


@pytest.mark.slow
def test_dev_restarts_when_code_or_env_file_changes(tmp_path: Path) -> None:
    copied = copy_project(tmp_path)
    broken = tmp_path / "vibetracker" / "features" / "broken"
    with running("dev", folder=tmp_path, **copied) as server, httpx2.Client() as client:
        broken.mkdir()
        (broken / "__init__.py").touch()
        server.wait_for("vibetracker: feature 'broken': there is no router.py")
        server.wait_for("the next change starts it again")
        answer = client.post(f"{server.origin}/tags", json={"name": "home"})
        assert answer.status_code == 503
        assert "feature 'broken': there is no router.py" in answer.json()["detail"]
        (tmp_path / ".env").write_text("DISABLED_FEATURES=broken\nALLOWED_HOSTS=api.example.org")
        server.wait_for("serving on")
        request = httpx2.Request("GET", f"{server.origin}/tags", headers={"Host": "localhost"})
        assert client.send(request).status_code == 400
        request.headers["Host"] = "api.example.org"
        assert client.send(request).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("features/broken/router.py", "1 / 0\n", "feature 'broken': .*: ZeroDivisionError"),
        # Nothing of the core can be imported then, not even what words the reasons.
        ("core/config.py", "class Settings(\n", "SyntaxError"),
    ],
)
def test_dev_responds_with_the_reason_from_its_start_until_it_is_mended(
    file: str, text: str, reason: str, tmp_path: Path
) -> None:
    copied = copy_project(tmp_path)
    broken = tmp_path / "vibetracker" / file
    sound = broken.read_text() if broken.is_file() else None
    broken.parent.mkdir(exist_ok=True)
    (broken.parent / "__init__.py").touch()
    broken.write_text(text)
    with running("dev", folder=tmp_path, **copied) as server:
        answer = httpx2.get(f"{server.origin}/health/live")
        assert answer.status_code == 503
        assert re.search(reason, answer.json()["detail"])
        if sound is None:
            shutil.rmtree(broken.parent)
        else:
            broken.write_text(sound)
        server.wait_for("serving on")
        assert httpx2.get(f"{server.origin}/tags").status_code == 200
    assert server.process.returncode == 0


def test_the_fallback_responds_as_the_service_does() -> None:
    answer = TestClient(fallback("it is broken: \xfc")).get("/tags/\xfc?q=1")
    scope: Scope = {"path": "/tags/\xfc", "state": {"request_id": answer.headers["x-request-id"]}}
    wanted = render(Unavailable("The service does not start: it is broken: \xfc"), scope)
    assert answer.status_code == wanted.status_code
    assert answer.json() == json.loads(bytes(wanted.body))
    assert set(wanted.headers.items()) <= set(answer.headers.items())
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["api", "//", "/a b", "https://example.org/"])
def test_a_root_path_is_a_path(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--root-path", path])
    assert "expected a path such as /api" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_the_environment_may_name_the_port(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value, port in (("8123", 8123), ("", 8000)):
        monkeypatch.setenv("PORT", value)
        assert cli.parser().parse_args([command]).port == port
        assert cli.parser().parse_args([command, "--port", "81"]).port == 81
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(SystemExit):
        cli.main([command])
    assert "argument --port: expected a port" in capsys.readouterr().err


REFUSALS = {
    "port": (
        "serve --port {taken}",
        {"DATABASE_URL": "sqlite://"},
        r"127\.0\.0\.1 port \d+: Address already in use",
    ),
    "host": (
        "serve --host= --port {taken}",
        {"DATABASE_URL": "sqlite://"},
        r"--host is empty; 0\.0\.0\.0 stands for every address",
    ),
    "folder": ("serve", {"DATABASE_URL": "sqlite:///file/x.db"}, "unable to open database file"),
    "schema": ("serve", {"DATABASE_URL": "sqlite:///old.db"}, r"lacks tags\.\w+, tags\.\w+, "),
    "feature": ("serve", {"DATABASE_URL": "sqlite://"}, "feature 'Notes': .*; rename the folder"),
    "settings": (
        "openapi",
        {"DATABASE_URL": "mysql://me:secret@db/x", "POOL_SIZE": "0"},
        "DATABASE_URL: 'mysql' is not supported; .*; POOL_SIZE: ",
    ),
    "parameter": (
        "serve",
        {"DATABASE_URL": "sqlite:///q.db?timeout=abc"},
        "DATABASE_URL: has a parameter that cannot be read: .*'abc'",
    ),
    "ports": (
        "serve",
        {"DATABASE_URL": "postgresql://me:secret@/db?host=a,b&port=5432"},
        "DATABASE_URL: has a parameter that cannot be read: number of hosts and ports don't match",
    ),
    "hosts": (
        "serve",
        {"DATABASE_URL": "postgresql://me:secret@a:1,b:2/db"},
        "DATABASE_URL: cannot be read; .* name several hosts as in .*",
    ),
    "memory": ("serve --workers 2", {"DATABASE_URL": "sqlite://"}, "in memory"),
    "forgotten": (
        "seed",
        # Which it would set for the tests behind it.
        {"DATABASE_URL": "sqlite://", "ALLOWED_HOSTS": "localhost"},
        "in memory is empty",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_an_operator_can_mend_is_reported_in_one_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, settings, line = REFUSALS[name]
    monkeypatch.chdir(tmp_path)
    # The application is created from these settings, as in a process of its own.
    monkeypatch.setitem(sys.modules, "vibetracker.main", ModuleType("replaced"))
    del sys.modules["vibetracker.main"]
    for setting, value in settings.items():
        monkeypatch.setenv(setting, value)
    (tmp_path / "file").touch()
    with closing(sqlite3.connect("old.db")) as old:
        old.execute("CREATE TABLE tags (id INTEGER PRIMARY KEY)")
    if name == "feature":
        (tmp_path / "Notes").mkdir()
        (tmp_path / "Notes" / "model.py").touch()
        monkeypatch.setattr(vibetracker.features, "__path__", [str(tmp_path)])
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert cli.main(command.format(taken=other.getsockname()[1]).split()) == 2
    said = capfd.readouterr()
    assert re.fullmatch(f"vibetracker: .*{line}.*\n", said.err), said.err
    assert "secret" not in said.err
    assert said.out == ""


@pytest.mark.parametrize("command", ["openapi", "features"])
def test_a_reader_may_end_before_a_command_has_printed_all(
    command: str, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (cli.openapi, cli.develop):
        monkeypatch.setattr(module, "load_application", lambda: app)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main([command]) == 128 + signal.SIGPIPE


ROUTER = """\
from pydantic import BaseModel
from vibetracker.core.api.routing import Router
from vibetracker.core.api.session import SessionDep

router = Router("/broken", description="Broken.")


"""
BROKEN = {
    "body": (
        ROUTER + '@router.post("")\ndef create_it(data: BaseModel) -> None:\n    "Create it."\n',
        r"router\.py:8: create_it: the body must be one subclass of core\.api\.schema\.Input",
    ),
    "async": (
        ROUTER + '@router.get("")\nasync def get_it(session: SessionDep) -> None:\n    "Get it."\n',
        r"router\.py:8: get_it: an async handler with a session",
    ),
    "syntax": ("\nrouter = (\n", r"router\.py:2: SyntaxError: '\(' was never closed"),
    "import": ("from .schema import It\n", r"router\.py:1: ModuleNotFoundError: No module named "),
    "name": ("from .model import It\n", r"router\.py:1: ImportError: cannot import name 'It'"),
    "error": ("limit = 10\nlimit / 0\n", r"router\.py:2: ZeroDivisionError: division by zero"),
    "lines": (
        "def fail():\n    raise ValueError('one\\ntwo')\n\nclass Late:\n    value = fail()\n",
        r"router\.py:5: ValueError: one two",
    ),
    "router": ("", r"router\.py has no `router`"),
}


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a feature with an empty router the only one."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in ("__init__.py", "model.py", "router.py"):
        (folder / name).touch()
    monkeypatch.chdir(tmp_path)
    # Commands set these too; ``monkeypatch`` restores only what it has set itself.
    monkeypatch.setenv("DATABASE_URL", "sqlite://")
    monkeypatch.setenv("ALLOWED_HOSTS", "localhost")
    monkeypatch.setattr(vibetracker.features, "__path__", [str(tmp_path)])
    monkeypatch.setitem(sys.modules, "vibetracker.main", ModuleType("replaced"))
    del sys.modules["vibetracker.main"]
    yield folder
    for module in [name for name in sys.modules if "features.broken" in name]:
        del sys.modules[module]
    if hasattr(vibetracker.features, "broken"):
        del vibetracker.features.broken


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *((command, name) for command in ("openapi", "check") for name in BROKEN),
        *(
            # They say it as the first of the two does.
            pytest.param(command, name, marks=() if name == "lines" else pytest.mark.slow)
            for command in ("serve", "seed", "features", "new notes")
            for name in BROKEN
        ),
    ],
)
def test_a_feature_that_does_not_load_is_reported_in_one_line(
    command: str, name: str, broken: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, line = BROKEN[name]
    (broken / "router.py").write_text(code)
    importlib.invalidate_caches()
    status = cli.main(command.split())
    said = capfd.readouterr()
    if command == "check":
        # It goes on, and reports other breaches too.
        assert status == 1
        assert re.search(f"^broken/{line}" if ":" in line else line, said.out, re.MULTILINE)
        return
    assert re.fullmatch(f"vibetracker: feature 'broken': (broken/)?{line}.*\n", said.err), said.err
    assert (status, said.out) == (2, "")


def test_an_error_outside_of_the_features_is_not_taken_for_theirs(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("vibetracker.core.app.create_app", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["openapi"])
    assert broken.is_dir()


@pytest.mark.slow
def test_a_port_in_use_and_a_file_that_is_no_database_are_reported_in_one_line(
    tmp_path: Path,
) -> None:
    copied = copy_project(tmp_path)
    (tmp_path / "file").write_text("This is no database, and no folder either. " * 9)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = run("dev", "--port", str(other.getsockname()[1]), folder=tmp_path, **copied)
    broken = run("dev", "--port", "0", folder=tmp_path, DATABASE_URL="sqlite:///file", **copied)
    for result, line in (
        (taken, r"127\.0\.0\.1 port \d+: Address already in use"),
        (broken, "file is not a database"),
    ):
        assert re.fullmatch(f"vibetracker: .*{line}.*\n", result.stderr), result.stderr
        assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("options", "change", "line"),
    [
        ("", "DROP SCHEMA public", "no schema"),
        ("ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'", "", "encoding SQL_ASCII"),
    ],
)
def test_postgresql_that_cannot_have_the_tables_is_reported_in_one_line(
    request: pytest.FixtureRequest, tmp_path: Path, options: str, change: str, line: str
) -> None:
    if not request.config.getoption("postgres"):
        pytest.skip("on PostgreSQL only")
    server = make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql")
    bare = server.set(database="vibetracker_bare")
    for url, statement in [
        (server, "DROP DATABASE IF EXISTS vibetracker_bare"),
        (server, f"CREATE DATABASE vibetracker_bare {options}"),
        (bare, change or "SELECT"),
    ]:
        with closing(psycopg2.connect(url.render_as_string(hide_password=False))) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)
    bare_url = bare.render_as_string(hide_password=False)
    result = run("serve", folder=tmp_path, DATABASE_URL=bare_url)
    assert re.fullmatch(f"vibetracker: the database .*{line}.*\n", result.stderr), result.stderr
    assert result.returncode == 2


ALONE_OR_NOT = pytest.mark.parametrize(
    "arguments", [[], ["--workers", "2"]], ids=["alone", "workers"]
)


@pytest.mark.slow
@ALONE_OR_NOT
def test_serve_takes_requests_and_is_not_ready_until_the_drain_delay_is_over(
    arguments: list[str], tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": "sqlite:///tracker.db", "DRAIN_DELAY": "60", "DEBUG": "true"}
    with running("serve", *arguments, folder=tmp_path, **settings) as server:
        assert httpx2.get(f"{server.origin}/health/ready", timeout=60).status_code == 200
        assert server.wait_for("GET /health/ready 200")[0]
        server.process.send_signal(signal.SIGTERM)
        # The log lines of the probes are read meanwhile, so that the pipe does not fill up.
        while httpx2.get(f"{server.origin}/health/ready").status_code == 200:
            assert server.wait_for("GET /health/ready 200")[0]
        assert httpx2.get(f"{server.origin}/tags").status_code == 200
        assert httpx2.get(f"{server.origin}/health/live").status_code == 200
        assert server.process.poll() is None
        if not arguments:
            # A second signal ends the delay.
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("Shutting down")
        else:
            os.killpg(server.process.pid, signal.SIGKILL)


@pytest.mark.slow
@ALONE_OR_NOT
def test_serve_finishes_the_requests_that_it_has_begun_before_it_ends(
    arguments: list[str], tmp_path: Path
) -> None:
    others = ",".join(sources().keys() - {"tags"})
    settings = {"DATABASE_URL": "sqlite:///tracker.db", "DISABLED_FEATURES": others}
    with running("serve", *arguments, folder=tmp_path, **settings) as server:
        host, port = server.origin.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=120) as connection:
            answer = connection.makefile("rb")
            connection.sendall(
                b"POST /tags HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 15\r\nExpect: 100-continue\r\n\r\n"
            )
            assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("Shutting down")
            connection.sendall(b'{"name":"home"}')
            assert answer.readline() == b"\r\n"
            assert answer.readline() == b"HTTP/1.1 201 Created\r\n"
        _, rest = server.process.communicate()
    assert "Application shutdown complete" in rest
    assert "Traceback" not in rest


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "serve --workers 2", "dev"])
def test_interrupted_twice_it_ends_at_once_and_in_silence(command: str, tmp_path: Path) -> None:
    url = "sqlite:///tracker.db"
    with running(*command.split(), folder=tmp_path, DATABASE_URL=url) as server:
        host, port = server.origin.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=120) as connection:
            connection.sendall(
                b"POST /tags HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 15\r\nExpect: 100-continue\r\n\r\n"
            )
            assert connection.recv(21) == b"HTTP/1.1 100 Continue"
            # As a terminal sends it: to the process and its children alike.
            os.killpg(server.process.pid, signal.SIGINT)
            server.wait_for("Waiting for connections to close")
            os.killpg(server.process.pid, signal.SIGINT)
            _, rest = server.process.communicate()
    assert server.process.returncode == 130
    said = "".join(server.lines) + rest
    assert "Traceback" not in said
    assert "ERROR" not in said
