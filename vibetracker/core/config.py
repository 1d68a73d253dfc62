"""Settings, read from the environment and from ``.env``."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator
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

CommaList = Annotated[list[str], NoDecode]


def connection_url(database_url: str) -> URL:
    """Turn a database URL as people write it into the one that SQLAlchemy connects with.

    Raises ``ValueError`` with a text that never holds the URL itself: it may carry a password.
    """
    scheme, separator, _ = database_url.partition("://")
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
    # Behind an @ of the password its rest is taken for the host, whose name the log tells.
    if url is None or (scheme.startswith("postgres") and "@" in f"{url.host} {url.database}"):
        raise ValueError(
            "cannot be read; quote special characters in user and password as in %40 for @"
        )
    return url


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
    )

    database_url: str = Field(
        "postgresql://postgres:postgres@localhost:5432/vibetracker",
        repr=False,
        description="Where the data lives: postgresql://, postgres:// or sqlite:///file.db.",
    )
    debug: bool = Field(
        default=False,
        description="Log every SQL statement (never its values) and at level DEBUG.",
    )
    time_zone: str = Field(
        "UTC", description="IANA zone in which a due date ends, where a request names none."
    )
    allowed_hosts: CommaList = Field(
        ["*"],
        description="Host names the service answers to, comma-separated; `*.example.org` and "
        "`*` are patterns.",
    )
    cors_origins: CommaList = Field(
        [],
        description="Origins whose pages may call the API from a browser, comma-separated, or `*`.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Log lines for people (`text`) or for machines (`json`)."
    )
    disabled_features: CommaList = Field(
        [], description="Features that are not mounted, comma-separated."
    )
    pool_size: int = Field(
        10, ge=1, le=1000, description="Database connections per worker process."
    )
    pool_timeout: float = Field(
        2, gt=0, le=60, description="How long a request waits for a free connection."
    )
    connect_timeout: float = Field(
        3, gt=0, le=60, description="How long opening a database connection may take."
    )
    statement_timeout: float = Field(
        5, gt=0, le=600, description="How long one SQL statement may run."
    )
    lock_timeout: float = Field(
        2, gt=0, le=600, description="How long one SQL statement waits for a lock."
    )
    max_body_size: int = Field(1_048_576, ge=1024, description="Largest request body accepted.")
    body_timeout: float = Field(
        10, gt=0, le=600, description="How long a request body may take to arrive as a whole."
    )
    max_uploads: int = Field(
        256,
        ge=1,
        description="Bodies received at once by one worker; a further one ends the oldest.",
    )

    @field_validator("database_url")
    @classmethod
    def _supported(cls, value: str) -> str:
        connection_url(value)
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, OSError, ValueError):
            raise ValueError("is not an IANA time zone such as Europe/Berlin") from None
        return value

    @field_validator("allowed_hosts", "cors_origins", "disabled_features", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value
