"""The application that a command works on, created from the settings of the environment."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .refusals import UnusableError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from vibetracker.core.config import Settings
    from vibetracker.core.db.database import Database

DEV_DEFAULTS = {
    "database_url": "sqlite:///vibetracker.db",
    "allowed_hosts": "localhost,127.0.0.1,[::1]",
}
"""The settings of ``dev`` and ``seed`` where the environment and ``.env`` say nothing else."""


def load_settings() -> "Settings":
    """Return the settings; raises ``UnusableError`` where they are invalid."""
    from pydantic import ValidationError

    from vibetracker.core.config import Settings

    try:
        return Settings()
    except ValidationError as error:
        faults = [
            f"{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise UnusableError("; ".join(faults)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f".env cannot be read: {error}") from None


def set_dev_defaults() -> "Settings":
    """Set what ``dev`` uses where nothing is set, and return the settings as they were."""
    settings = load_settings()
    for name in DEV_DEFAULTS.keys() - settings.model_fields_set:
        os.environ[name.upper()] = DEV_DEFAULTS[name]
    return settings


def load_application() -> "FastAPI":
    """Load the application that ``uvicorn vibetracker.main:app`` would serve."""
    settings = load_settings()
    from vibetracker.core.logging import configure

    configure(settings)
    from vibetracker.main import app

    return app


def lasting_database(app: "FastAPI", *, create: bool = True) -> "Database":
    """Return the database of a command that ends; without ``create`` it has to be there."""
    database: Database = app.state.database
    if database.in_memory:
        raise UnusableError(
            "a database in memory is empty, and ends with the command; name another one in "
            "DATABASE_URL"
        )
    check_database(app, create=create)
    return database


def check_database(app: "FastAPI", *, create: bool = True) -> None:
    """Raise ``UnusableError`` unless waiting may help; a server may still be starting."""
    from sqlalchemy.exc import SQLAlchemyError

    from vibetracker.core.db.database import OutdatedSchemaError
    from vibetracker.core.db.failures import is_outage, is_refused, reason

    database: Database = app.state.database
    url = database.engine.url
    try:
        if not (create or _exists(database)):
            raise UnusableError(f"there is no database {url.database}, or it has no tables")
        database.prepare()
    except OutdatedSchemaError as error:
        raise UnusableError(error) from None
    except SQLAlchemyError as error:
        waits = is_outage(error) and not is_refused(error)
        if url.get_backend_name() == "sqlite" or not waits:
            raise UnusableError(f"the database {url.database}: {reason(error)}") from None
    finally:
        database.dispose()


def _exists(database: "Database") -> bool:
    """Return whether there are tables of ours; looking creates no file, as connecting would."""
    from sqlalchemy import inspect

    from vibetracker.core.db.model import Base

    url = database.engine.url
    # Only SQLite knows whether a URI names one.
    is_file = url.get_backend_name() == "sqlite" and "uri" not in url.query
    if is_file and not Path(url.database or "").exists():
        return False
    return not Base.metadata.tables.keys().isdisjoint(inspect(database.engine).get_table_names())
