"""The README does what it says."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from threading import Timer

import httpx2
import pytest
from sqlalchemy import inspect, text

from vibetracker.cli import main
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database, OutdatedSchemaError
from vibetracker.features.tasks.model import tasks
from vibetracker.testing import free_port

from .documents import blocks, follow, turns
from .processes import ROOT, Server, call, copy_project, running

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
NGINX_CONF = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/tmp;
    proxy_temp_path {folder}/tmp;
    fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp;
    scgi_temp_path {folder}/tmp;
    gzip on;
    gzip_proxied any;
    gzip_types *;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the conversation is one with curl")
def test_the_conversation_goes_as_it_is_shown_with_the_command_that_it_names(
    tmp_path: Path,
) -> None:
    shown = turns(README)
    assert len(shown) == README.count("$ curl")
    changes = copy_project(tmp_path / "project")
    with running("dev", folder=tmp_path, **changes) as server:
        for turn in shown:
            follow(turn, tmp_path, server.origin.removeprefix("http://"))


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_a_proxy_serves_it_under_a_path_of_its_own(tmp_path: Path) -> None:
    assert NGINX is not None
    (location,) = blocks("nginx", README)
    changes = copy_project(tmp_path / "project") | {"DATABASE_URL": "sqlite:///proxied.db"}
    (tmp_path / "tmp").mkdir()
    with running("serve", "--root-path", "/api", folder=tmp_path, **changes) as server:
        location = location.replace("http://127.0.0.1:8000", server.origin)
        port = free_port()
        file = tmp_path / "nginx.conf"
        file.write_text(NGINX_CONF.format(folder=tmp_path, port=port, location=location))
        process = subprocess.Popen([NGINX, "-e", "stderr", "-c", file])  # noqa: S603 - our own file
        try:
            headers = {"Origin": f"http://127.0.0.1:{port}"}
            transport = httpx2.HTTPTransport(retries=5)
            base = f"http://127.0.0.1:{port}/api"
            with httpx2.Client(transport=transport, base_url=base, headers=headers) as client:
                made = client.post("/tags", json={"name": "home"})
                assert (made.status_code, made.headers["Location"]) == (201, "/api/tags/1")
                got = client.get("/tags/1", headers={"Accept-Encoding": "gzip"})
                assert (got.json(), got.headers["ETag"]) == (made.json(), '"1"')
                demand = {"If-Match": got.headers["ETag"]}
                assert client.patch("/tags/1", json={}, headers=demand).status_code == 200
                (listed,) = client.get("/openapi.json").json()["servers"]
                assert listed["url"] == "/api"
        finally:
            process.terminate()
            process.wait(10)


def test_the_table_has_every_setting() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*)`)? ?\| (.+) \|$", README, re.MULTILINE)
    expected = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, list):
            default = ",".join(default)
        text = str(default).lower() if isinstance(default, bool) else str(default)
        expected.append((name.upper(), text, field.description))
    assert rows == expected


def test_a_database_of_the_version_before_is_refused_without_the_column(
    tmp_path: Path,
) -> None:
    """The database is left as it is until then."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    database = Database(Settings(database_url=url, _env_file=None))
    database.prepare()
    columns = ", ".join(column.name for column in tasks.columns if column.name != "project_id")
    with database.engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE old AS SELECT {columns} FROM tasks"))  # noqa: S608 - our own names
        for table in ("tasks", "projects"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("ALTER TABLE old RENAME TO tasks"))
        connection.execute(text("PRAGMA wal_checkpoint"))
    before = sorted(inspect(database.engine).get_table_names())
    with pytest.raises(OutdatedSchemaError, match=r"lacks tasks\.project_id; .* .README, Upgrade"):
        database.prepare()
    assert sorted(inspect(database.engine).get_table_names()) == before
    (statement,) = re.findall(r"^ALTER TABLE tasks .*;$", README, re.MULTILINE)
    with database.engine.begin() as connection:
        connection.execute(text(statement))
    database.prepare()
    assert "projects" in inspect(database.engine).get_table_names()
    database.dispose()


@pytest.mark.slow
def test_a_database_is_upgraded_by_the_two_commands_that_it_names(tmp_path: Path) -> None:
    (export, importing) = re.findall(
        r"^.*vibetracker (?:export|import) tracker\.json$", README, re.MULTILINE
    )
    variable, _, importing = importing.partition(" ")
    old, new = "sqlite:///old.db", variable.removeprefix("DATABASE_URL=")
    command = Path(sys.executable).with_name("vibetracker")
    call(command, "seed", "--count", "50", folder=tmp_path, DATABASE_URL=old)
    call(command, *export.split()[1:], folder=tmp_path, DATABASE_URL=old)
    said = call(command, *importing.split()[1:], folder=tmp_path, DATABASE_URL=new)
    assert "tasks: 50\n" in said
    call(command, "export", "again.json", folder=tmp_path, DATABASE_URL=new)
    files = [tmp_path / name for name in ("tracker.json", "again.json")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_its_commands_refer_to_exists() -> None:
    for path in ("compose.yml", "Dockerfile", ".env.example"):
        assert (ROOT / path).is_file()
    for module in re.findall(r"python -m ((?!venv)[\w.]+)", README):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    for path in re.findall(r"pytest (vibetracker/features/(?!notes)\w+)", README):
        assert (ROOT / path).is_dir()
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert list(project["scripts"]) == ["vibetracker"]
    for extra in re.findall(r"--extra (\w+)|'\.\[(\w+)\]'", README):
        assert "".join(extra) in project["optional-dependencies"]


@pytest.mark.parametrize(
    "command",
    sorted(
        set(
            re.findall(
                r"vibetracker (dev|serve|seed|export|import|openapi|new|check|features)\b", README
            )
        )
    ),
)
def test_the_commands_that_it_names_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: vibetracker {command}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_new_user_has_a_task_within_a_minute(tmp_path: Path) -> None:
    copy_project(tmp_path)
    shutil.copy(ROOT / "README.md", tmp_path)
    command = README.split("<!-- run -->\n```sh\n", 1)[1].split("\n```", 1)[0]
    settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    # Processor time: what else the machine does, and how far away the packages are, does not count.
    started = _processor_time()
    process = subprocess.Popen(  # noqa: S603 - the README's own command
        ["/bin/bash", "-c", f"{command} --port 0"],
        cwd=tmp_path,
        env={"PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin", "HOME": str(Path.home()), **settings},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    overdue = Timer(300, os.killpg, (process.pid, signal.SIGKILL))
    overdue.start()
    try:
        origin = Server(process, []).wait_for(r"serving on (http://\S+),")[1]
        task = httpx2.post(f"{origin}/tasks", json={"title": "Water the plants"}, timeout=60)
    finally:
        overdue.cancel()
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()
    assert task.status_code == 201
    assert (tmp_path / "vibetracker.db").is_file()
    assert _processor_time() - started < 60


def _processor_time() -> float:
    """Return the processor time in seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_commands_for_a_fresh_machine_stand_where_ci_finds_them() -> None:
    for mark in ("run", "test"):
        block = README.split(f"<!-- {mark} -->\n", 1)[1]
        assert block.startswith("```sh\npython3 -m venv .venv && ")
