"""The engine for SQLite: foreign keys are enforced, and a write is locked from its beginning."""

from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, QueuePool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from vibetracker.core.config import Settings, connection_url

READS = "vibetracker_reads"
"""The execution option of a transaction that writes nothing."""


def sqlite_engine(settings: Settings, **options: Any) -> Engine:
    """Create an engine in autocommit."""
    engine = create_engine(
        connection_url(settings.database_url),
        poolclass=QueuePool,
        connect_args={"check_same_thread": False, "timeout": settings.lock_timeout},
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        hide_parameters=True,
        **options,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        # So that reading and writing do not wait for each other.
        connection.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def lock_before_reading(connection: Connection) -> None:
        # What a write decides on must not change before it writes; without this SQLite locks only
        # at the first INSERT or UPDATE, and fails where two transactions get there together.
        options = connection.get_execution_options()
        if "isolation_level" in options:
            connection.exec_driver_sql("BEGIN" if READS in options else "BEGIN IMMEDIATE")

    @event.listens_for(engine, "handle_error")
    def end_what_could_not_be_committed(context: ExceptionContext) -> None:
        # SQLite keeps a transaction whose COMMIT fails.
        if context.statement is None and context.connection is not None:
            context.connection.connection.rollback()

    return engine
