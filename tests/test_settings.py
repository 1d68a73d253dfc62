"""The settings: what they accept, that they hide passwords, and how they are documented."""

import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from vibetracker.cli.application import check_database, load_settings
from vibetracker.cli.refusals import UnusableError
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.core.db.failures import reason

from .specimens import FEATURE

ROOT = Path(__file__).parents[1]
PASSWORD = "hunter2-b4ttery"  # noqa: S105 - the secret that must not show


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave no setting in the environment, and no .env in the current folder."""
    for name in os.environ:
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Yield a port that refuses connections for as long as the test lasts."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_every_spelling_of_postgresql_means_psycopg2(scheme: str) -> None:
    settings = Settings(database_url=f"{scheme}://somebody:secret@db.example:5433/tracker")
    url = Database(settings).engine.url
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password) == ("somebody", "secret")
    assert (url.host, url.port, url.database) == ("db.example", 5433, "tracker")


@pytest.mark.parametrize("url", ["sqlite:///tracker.db", "sqlite://"])
def test_sqlite_works(url: str) -> None:
    with TestClient(create_app(Settings(database_url=url), [FEATURE])) as client:
        assert client.post("/specimens", json={"label": "home"}).status_code == 201


@pytest.mark.parametrize(
    "scheme", ["mysql", "postgresql+asyncpg", "postgresql+psycopg", "sqlite+aiosqlite", "oracle"]
)
def test_another_database_is_refused_by_name(scheme: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(f"{scheme!r} is not supported")):
        Settings(database_url=f"{scheme}://somebody@db.example/tracker")


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://somebody:{PASSWORD}@db.example/tracker",
        f"postgresql://somebody:{PASSWORD}@db.example:port/tracker",
        f"postgresql://somebody:at@{PASSWORD}@db.example/tracker",
        f"postgresql://somebody:at@slash/{PASSWORD}@db.example/tracker",
        f"postgresql:/somebody:{PASSWORD}@db.example/tracker",
        f"somebody:{PASSWORD}@db.example",
        f"{PASSWORD}",
    ],
)
def test_an_error_in_the_url_does_not_show_the_password(url: str) -> None:
    with pytest.raises(ValidationError, match="database_url") as caught:
        Settings(database_url=url)
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in repr(caught.value)


def test_neither_repr_nor_log_shows_the_password(
    dead_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"postgresql://somebody:{PASSWORD}@127.0.0.1:{dead_port}/tracker"
    settings = Settings(database_url=url, debug=True)
    database = Database(settings)
    with pytest.raises(OperationalError) as caught:
        database.prepare()
    with TestClient(create_app(settings, [FEATURE])) as client:
        assert client.get("/specimens").status_code == 503
    shown = [repr(settings), str(settings), repr(database.engine), reason(caught.value)]
    assert PASSWORD not in "\n".join([*shown, str(caught.value), caplog.text])
    assert "not reachable" in caplog.text or "not ready" in caplog.text


def test_settings_come_from_env_file_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text("POOL_SIZE=3\ndebug=true\nPOSTGRES_USER=somebody\n", encoding="utf-8")
    monkeypatch.setenv("POOL_SIZE", "4")
    settings = Settings()
    assert (settings.pool_size, settings.debug) == (4, True)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "api.example.org, localhost,")
    monkeypatch.setenv("DISABLED_FEATURES", "")
    settings = Settings()
    assert settings.allowed_hosts == ["api.example.org", "localhost"]
    assert settings.disabled_features == []


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="Europe/Berlin"):
        Settings(time_zone="Mars/Olympus")


@pytest.mark.parametrize("host", ["api.example.org", "API.Example.ORG:8000", "[::1]:8000"])
def test_host_names_are_compared_whatever_their_case(host: str) -> None:
    settings = Settings(database_url="sqlite://", allowed_hosts=["Api.example.org", "[::1]"])
    client = TestClient(create_app(settings, [FEATURE]))
    assert client.get("/problems", headers={"Host": host}).status_code == 200
    assert client.get("/problems", headers={"Host": "example.org"}).status_code == 400


def documented(default: object) -> str:
    """Return a default as it is written in the environment."""
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(default) if isinstance(default, list) else str(default)


def test_the_example_file_documents_every_setting() -> None:
    settings, compose = (
        (ROOT / ".env.example").read_text(encoding="utf-8").split("# What follows is read by")
    )
    written = re.findall(r"^# (.+)\n# ([A-Z_]+)=(.*)$", settings, flags=re.MULTILINE)
    assert written == [
        (field.description, name.upper(), documented(field.default))
        for name, field in Settings.model_fields.items()
    ]
    for name, default in re.findall(r"^# ([A-Z_]+)=(.*)$", compose, flags=re.MULTILINE):
        assert f"${{{name}:-{default}}}" in (ROOT / "compose.yml").read_text(encoding="utf-8")


def test_the_values_of_the_example_file_are_the_defaults() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    Path(".env").write_text(re.sub("^# (?=[A-Z_]+=)", "", example, flags=re.MULTILINE))
    settings = Settings()
    assert settings == Settings(_env_file=None)
    assert settings.model_fields_set == Settings.model_fields.keys()


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        (
            "cors_origins",
            "https://App.Example/, http://a.example:80",
            "https://app.example, http://a.example",
        ),
        (
            "cors_origins",
            "https://app.example:443,https://app.example:8443/",
            "https://app.example,https://app.example:8443",
        ),
        (
            "cors_origins",
            "http://localhost:5173,http://[::1]:3000,null",
            "http://localhost:5173,http://[::1]:3000,null",
        ),
        (
            "cors_origins",
            "capacitor://localhost,chrome-extension://abcdef",
            "capacitor://localhost,chrome-extension://abcdef",
        ),
        (
            "allowed_hosts",
            "API.example.org/,*.Example.com,::1,[::1]:80",
            "api.example.org,*.example.com,[::1],[::1]",
        ),
        ("allowed_hosts", "localhost:443,127.0.0.1,my_host", "localhost,127.0.0.1,my_host"),
        ("log_format", "JSON", "json"),
    ],
)
def test_other_spellings_are_normalized(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str, meant: str
) -> None:
    monkeypatch.setenv(name.upper(), given)
    expected = [part.strip() for part in meant.split(",")]
    assert getattr(Settings(), name) == (meant if name == "log_format" else expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("CORS_ORIGINS", "https://app.example/path"), ("CORS_ORIGINS", "app.example")),
        *(("CORS_ORIGINS", "https://*.example"), ("CORS_ORIGINS", '["https://app.example"]')),
        *(
            ("CORS_ORIGINS", "https://app.example:port"),
            ("CORS_ORIGINS", "https://app.example:65536"),
            ("CORS_ORIGINS", "https://b\u00fccher.example"),
        ),
        *(("CORS_ORIGINS", "https://user@app.example"), ("CORS_ORIGINS", "//app.example")),
        *(("ALLOWED_HOSTS", "localhost:8105"), ("ALLOWED_HOSTS", "http://localhost")),
        *(("ALLOWED_HOSTS", ""), ("ALLOWED_HOSTS", "*example.org"), ("ALLOWED_HOSTS", "a.*.org")),
        *(("DATABASE_URL", "sqlite://file.db"), ("DATABASE_URL", "sqlite://data/file.db")),
        *(("ALLOWED_HOSTS", '["localhost"]'), ("ALLOWED_HOSTS", "localhost 127.0.0.1")),
        # The database takes less than a millisecond for no limit at all.
        *(("STATEMENT_TIMEOUT", "0.0001"), ("LOCK_TIMEOUT", "0.0009")),
    ],
)
def test_what_can_never_match_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UnusableError, match=rf"^{name}: [^\n]+$"):
        load_settings()


@pytest.mark.parametrize("parameters", [":99999/a", "/a?sslmode=some", "/a?schema=public"])
def test_a_url_that_no_connection_can_be_made_with_is_not_waited_for(parameters: str) -> None:
    app = create_app(Settings(database_url=f"postgresql://127.0.0.1{parameters}"), [FEATURE])
    with pytest.raises(UnusableError, match="invalid"):
        check_database(app)
