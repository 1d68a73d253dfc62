"""Settings, read from the environment and from ``.env``."""

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

DRIVERS = {
    "postgresql": "postgresql+psycopg2",
    "postgres": "postgresql+psycopg2",
    "postgresql+psycopg2": "postgresql+psycopg2",
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
}
"""The schemes a database URL may have, and the SQLAlchemy driver that each one means."""

_NAME, _IPV6 = r"[a-z0-9_-][a-z0-9._-]*", r"\[[0-9a-f:.]+\]"
HOST = re.compile(rf"(\*|(?:\*\.)?{_NAME}|{_IPV6})(?::80|:443)?/?")
ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_NAME}|{_IPV6})(:[1-9][0-9]{{0,4}})?/?")
LAST_PORT = 65535
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def _host(text: str) -> str:
    """Return a host's name as it is compared; ``ValueError`` where it could match none."""
    is_bare_ipv6 = text.count(":") > 1 and "[" not in text
    found = HOST.fullmatch(f"[{text.lower()}]" if is_bare_ipv6 else text.lower())
    if found is None:
        raise ValueError(
            f"{text!r} matches no host; write names such as api.example.org or *.example.org, "
            "without scheme and port"
        )
    return found[1]


def _origin(text: str) -> str:
    """Return an origin as browsers send it; ``ValueError`` where it could match none."""
    if text in {"*", "null"}:
        return text
    found = ORIGIN.fullmatch(text.lower())
    if found is None or int((found[3] or ":0")[1:]) > LAST_PORT:
        raise ValueError(
            f"{text!r} is no origin; write scheme, host and port as in https://app.example:8443, "
            "without a path, and no pattern but *"
        )
    scheme, host, port = found.groups(default="")
    return f"{scheme}://{host}{'' if port == DEFAULT_PORTS.get(scheme) else port}"


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


CommaList = Annotated[list[str], NoDecode, BeforeValidator(_split)]


def _hosts(texts: list[str]) -> list[str]:
    if not texts:
        raise ValueError("names no host; * stands for all")
    return [_host(text) for text in texts]


def _origins(texts: list[str]) -> list[str]:
    return [_origin(text) for text in texts]


def connection_url(database_url: str) -> URL:
    """Turn a database URL as people write it into the one that SQLAlchemy connects with.

    Raises ``ValueError`` with a text that never holds the URL itself: it may carry a password.
    """
    scheme, separator, _ = database_url.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise ValueError(
            "is not a URL; use postgresql://user:password@host:5432/name or sqlite:///file.db"
        )
    if scheme not in DRIVERS:
        raise ValueError(f"{scheme!r} is not supported; use postgresql:// or sqlite:///")
    try:
        url = make_url(database_url).set(drivername=DRIVERS[scheme])
    except (ArgumentError, ValueError):
        url = None
    # Behind an @ of the password its rest is taken for the host, whose name is logged.
    if url is None or (scheme.startswith("postgres") and "@" in f"{url.host} {url.database}"):
        raise ValueError(
            "cannot be read; quote special characters in user and password as in %40 for @, and "
            "name several hosts as in postgresql://user:password@/name?host=a,b&port=5432,5432"
        )
    if scheme.startswith("sqlite") and url.host:
        raise ValueError("has two slashes; use sqlite:///file.db, or four for an absolute path")
    try:
        url.get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError) as error:
        raise ValueError(f"has a parameter that cannot be read: {error}") from None
    return url


def _supported(database_url: str) -> str:
    connection_url(database_url)
    return database_url


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError("is not an IANA time zone such as Europe/Berlin") from None
    return name


class Settings(BaseSettings):
    """Everything an operator can set; each has a default that works.

    Names are read from the environment regardless of case, and from a ``.env`` file in the
    current folder. Times are in seconds, sizes in bytes.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    database_url: Annotated[str, AfterValidator(_supported)] = Field(
        "postgresql://postgres:postgres@localhost:5432/vibetracker", repr=False
    )
    """Where the data lives: postgresql://, postgres:// or sqlite:///file.db."""
    debug: bool = False
    """Log every SQL statement (never its values) and at level DEBUG."""
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """IANA zone in which a due date ends, where a request names none."""
    allowed_hosts: Annotated[CommaList, AfterValidator(_hosts)] = ["*"]
    """Host names the service answers to, comma-separated; `*.example.org` and `*` are patterns."""
    cors_origins: Annotated[CommaList, AfterValidator(_origins)] = []
    """Origins whose pages may call the API from a browser, comma-separated, or `*`."""
    log_format: Annotated[Literal["text", "json"], BeforeValidator(str.lower)] = "text"
    """Log lines for people (`text`) or for machines (`json`)."""
    disabled_features: CommaList = []
    """Features that are not mounted, comma-separated."""
    pool_size: int = Field(10, ge=1, le=1000)
    """Database connections per worker process."""
    pool_timeout: float = Field(2, gt=0, le=60)
    """How long a request waits for a free connection."""
    connect_timeout: float = Field(3, gt=0, le=60)
    """How long opening a database connection may take."""
    statement_timeout: float = Field(5, ge=0.001, le=600)
    """How long one SQL statement may run."""
    lock_timeout: float = Field(2, ge=0.001, le=600)
    """How long one SQL statement waits for a lock."""
    max_body_size: int = Field(1_048_576, ge=1024)
    """Largest request body accepted."""
    body_timeout: float = Field(10, gt=0, le=600)
    """How long a body may take to arrive in full; longer where an operation takes larger ones."""
    max_uploads: int = Field(256, ge=1)
    """Bodies received at once by one worker; a further one ends the oldest."""
    drain_delay: float = Field(0, ge=0, le=600)
    """How long after SIGTERM requests are still taken, and readiness denied."""
