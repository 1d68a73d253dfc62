"""One database: its engine and pool, its sessions, and its tables at start."""

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import blake2b
from typing import Any

from anyio import Semaphore
from sqlalchemy import Connection, ExceptionContext, Table, event, inspect, text
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import ORMExecuteState, Session
from starlette.concurrency import run_in_threadpool

from vibetracker.core.config import Settings, connection_url
from vibetracker.core.db.changes import Listeners
from vibetracker.core.db.failures import is_outage, is_refused, log_outage, reason
from vibetracker.core.db.model import Base, WritingSession
from vibetracker.core.db.postgresql import postgresql_engine
from vibetracker.core.db.sqlite import READS, sqlite_engine

logger = logging.getLogger(__name__)

PROBE_TIMEOUT = 0.8
"""Seconds that a readiness probe waits for one answer of the database.

There may be two, of a connection that was lost and of its successor; monitors expect a verdict
within two seconds.
"""

ONLY_READS = "a GET only reads; give what changes rows another method"
WRITING = re.compile(
    r"\s*(WITH\b.*[()]\s*)?"
    r"(INSERT|UPDATE|DELETE|MERGE|REPLACE|TRUNCATE|CREATE|ALTER|DROP|SAVEPOINT)\s",
    re.IGNORECASE | re.DOTALL,
)
"""What a statement begins with that writes, or one of its common table expressions.

A savepoint too: in autocommit PostgreSQL has none, and on SQLite it would begin a transaction.
"""


class OutdatedSchemaError(RuntimeError):
    """The database's tables lack columns that the models have."""


class Database:
    """One database: engine, pool, and the sessions of requests."""

    def __init__(self, settings: Settings) -> None:
        url = connection_url(settings.database_url)
        is_sqlite = url.get_backend_name() == "sqlite"
        self.in_memory = is_sqlite and url.database in {None, "", ":memory:"}
        connect = sqlite_engine if is_sqlite else postgresql_engine
        # In memory the one connection *is* the database, so requests take turns.
        self.size = 1 if self.in_memory else settings.pool_size
        self.engine = connect(
            settings, pool_size=self.size, max_overflow=0, pool_timeout=settings.pool_timeout
        )
        self._probe = self.engine
        if not self.in_memory:
            extra = {} if is_sqlite else {"answer_within": PROBE_TIMEOUT}
            pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": PROBE_TIMEOUT / 4}
            self._probe = connect(settings, pool_pre_ping=True, **pool, **extra)
        # Connections run each statement by itself, as reading needs, unless they are asked not to.
        level = "SERIALIZABLE" if is_sqlite else "READ COMMITTED"
        self._writers = self.engine.execution_options(isolation_level=level)
        self._readers = self.engine.execution_options(**{READS: True})
        for name in ("do_execute", "do_execute_no_params", "do_executemany"):
            event.listen(self.engine, name, _refuse_write)
        event.listen(self.engine, "handle_error", _explain_value)
        # That of asyncio would be bound to the event loop in which it was first waited for.
        self._connections = Semaphore(self.size, fast_acquire=True)
        self._patience = settings.pool_timeout
        self._prepared = False
        self.tables: list[Table] = []
        """Those that it has since it was prepared."""
        self.listeners: Listeners | None = None
        """Those that get what the sessions change."""

    def session(self, *, write: bool) -> Session:
        """Open a session for one use; one that only reads runs each statement by itself."""
        if write and self.listeners is not None:
            return self.listeners.session(self._writers)
        kind, engine = (WritingSession, self._writers) if write else (Session, self._readers)
        return kind(engine, expire_on_commit=False, close_resets_only=False)

    async def reserve_connection(self) -> Callable[[], None]:
        """Reserve a connection of the pool, and return the function that releases it, once.

        Waiting holds no thread. Raises SQLAlchemy's ``TimeoutError`` where no connection is free in
        time, and before the tables are there.
        """
        self._check_prepared()
        try:
            async with asyncio.timeout(self._patience):
                await self._connections.acquire()
        except TimeoutError:
            raise PoolTimeoutError("all database connections are busy") from None
        reservation = ExitStack()
        reservation.callback(self._connections.release)
        return reservation.close

    def prepare(self) -> None:
        """Create the tables that are missing; safe when several processes do it at once.

        Raises ``OutdatedSchemaError`` when an existing table lacks columns, and
        ``SQLAlchemyError`` when the database can have no tables, or not every text.
        """
        with self._writers.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                if (encoding := connection.scalar(text("SHOW server_encoding"))) != "UTF8":
                    raise SQLAlchemyError(
                        f"its encoding {encoding} has no place for every text; create it with "
                        "ENCODING 'UTF8' TEMPLATE template0"
                    )
            lock(connection, "vibetracker schema")
            self.tables = Base.metadata.sorted_tables
            Base.metadata.create_all(connection, self.tables)
            if missing := _missing_columns(connection):
                raise OutdatedSchemaError(
                    f"the database lacks {', '.join(missing)}; it was made by an older version, "
                    "which can go on with it, and there are no migrations: export it with that "
                    "version and import it into a new database (README, Upgrade)"
                )
        self._prepared = True

    async def prepare_or_wait(self) -> None:
        """Prepare now if the database is there; raises only what waiting would not mend."""
        try:
            await run_in_threadpool(self.prepare)
        except SQLAlchemyError as error:
            if not is_outage(error) or is_refused(error):
                raise
            log_outage(logger, "the database is not reachable", error)

    async def prepare_when_reachable(self, interval: float = 1) -> None:
        """Prepare, trying every ``interval`` seconds from then on until the database is there."""
        while not self._prepared:
            await asyncio.sleep(interval)
            try:
                await self.prepare_or_wait()
            except (OutdatedSchemaError, SQLAlchemyError) as error:
                logger.critical("not serving: %s", reason(error))
                return

    def ping(self) -> None:
        """Go to the database and back; raises ``SQLAlchemyError`` where that is not possible."""
        with self._probe.connect():
            # The pool has made the connection, or has pinged it.
            self._check_prepared()

    def _check_prepared(self) -> None:
        if not self._prepared:
            raise PoolTimeoutError("the database is not ready yet")

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self._probe.dispose()


def _refuse_write(_: object, statement: str, *rest: Any) -> None:
    # postgresql_readonly would find functions that write as well, for 75 us more of each request.
    if READS in rest[-1].execution_options and WRITING.match(statement):
        raise TypeError(ONLY_READS)


def _explain_value(context: ExceptionContext) -> DataError | None:
    """Return the error for a value that a driver itself cannot send, as too large a number."""
    error = context.original_exception
    is_sending = context.statement is not None and context.execution_context is not None
    if is_sending and isinstance(error, OverflowError | ValueError):
        return DataError(context.statement, None, error)
    return None


def refuse_writes(session: Session, reason: str) -> None:
    """Let a session raise ``TypeError`` for what the ORM would write from here on."""

    @event.listens_for(session, "before_flush")
    def refuse_flush(*_: object) -> None:
        raise TypeError(reason)

    @event.listens_for(session, "do_orm_execute")
    def refuse_statement(state: ORMExecuteState) -> None:
        if state.is_insert or state.is_update or state.is_delete:
            refuse_flush()


def dialect_of(connection: Connection | Session) -> str:
    """Return the name of the database: ``postgresql`` or ``sqlite``."""
    bind = connection.get_bind() if isinstance(connection, Session) else connection
    return bind.dialect.name


def lock(
    connection: Connection | Session, name: str, *, shared: bool = False, wait: bool = True
) -> bool:
    """Hold a named lock until the transaction ends; SQLite's writes exclude each other anyway.

    Return whether it is held, which is in doubt only without ``wait``.
    """
    if dialect_of(connection) != "postgresql":
        return True
    function = f"pg_{'' if wait else 'try_'}advisory_xact_lock{'_shared' if shared else ''}"
    # PostgreSQL knows it by a number of 64 bits.
    key = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)
    held = connection.scalar(text(f"SELECT {function}(:key)"), {"key": key})
    return wait or bool(held)


def _missing_columns(connection: Connection) -> list[str]:
    existing = {
        table: {column["name"] for column in columns}
        for (_, table), columns in inspect(connection).get_multi_columns().items()
    }
    return [
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.name not in existing.get(table.name, set())
    ]
