"""The database: its engine, its tables at start, and the session of a request."""

import asyncio
import logging
import select
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from hashlib import blake2b
from typing import Annotated, Any, cast, override

from fastapi import Depends, Request
from psycopg2 import InternalError, NotSupportedError, extensions
from psycopg2 import OperationalError as DriverError
from sqlalchemy import Connection, Dialect, Engine, QueuePool, create_engine, event, inspect, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeoutError,
)
from sqlalchemy.pool import ConnectionPoolEntry
from starlette.concurrency import run_in_threadpool

from vibetracker.core.config import Settings, connection_url
from vibetracker.core.model import Base
from vibetracker.core.problems import Unavailable
from vibetracker.core.session import Session

logger = logging.getLogger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOST_RACES = {"40001", "40P01"}
"""SQLSTATEs of a serialization failure and of a deadlock."""
OUTAGES = ("08", "25006", "3D000", "53", "55", "57", "58")
"""Beginnings of SQLSTATEs: connection, read-only, no such database (yet), resources, object in
use, operator intervention, system error."""
PROBE_TIMEOUT = 1.4
"""Seconds that a readiness probe waits for the database; monitors expect a verdict within two."""


LEVELS = {
    extensions.ISOLATION_LEVEL_AUTOCOMMIT,
    extensions.ISOLATION_LEVEL_READ_COMMITTED,
    extensions.ISOLATION_LEVEL_DEFAULT,
}
"""What a connection can be set to: no transactions, or those that the server's setting makes."""


class OutdatedSchemaError(RuntimeError):
    """The database's tables lack columns that the models have."""


class PatientConnection(extensions.connection):
    """A psycopg2 connection that gives up on a server which does not answer.

    ``statement_timeout`` is kept by the server, and a frozen server keeps nothing.
    """

    patience: float
    """Seconds to wait for one answer."""

    is_transactional = False
    """Whether the next statement begins a transaction."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # The driver's own BEGIN would be a way to the server of its own.
        super().set_session(autocommit=True)

    @property
    def autocommit(self) -> bool:
        """Tell SQLAlchemy whether there is nothing to roll back."""
        return not self.is_transactional

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.is_transactional = not value

    @override
    def set_isolation_level(self, level: int | None) -> None:
        """Switch transactions, and leave the level to the server's setting made at connect.

        psycopg2 would send that setting again with each switch: one more way to the server, in a
        place where SQLAlchemy does not translate the error of a lost connection.
        """
        if level not in LEVELS:
            raise NotSupportedError("transactions are READ COMMITTED, or none")
        self.autocommit = level == extensions.ISOLATION_LEVEL_AUTOCOMMIT

    @override
    def commit(self) -> None:
        if self.get_transaction_status() == extensions.TRANSACTION_STATUS_INERROR:
            # The server would answer with a ROLLBACK, and call that a success.
            self.rollback()
            raise InternalError("the transaction has failed, and nothing of it is kept")
        self._end("COMMIT")

    @override
    def rollback(self) -> None:
        self._end("ROLLBACK")

    def _end(self, statement: str) -> None:
        if self.get_transaction_status() != extensions.TRANSACTION_STATUS_IDLE:
            self.cursor().execute(statement)


class BeginningCursor(extensions.cursor):
    """A cursor whose first statement in a transaction takes the BEGIN along."""

    @property
    def _begins(self) -> bool:
        connection = cast(PatientConnection, self.connection)
        return (
            connection.is_transactional
            and connection.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE
        )

    @override
    def execute(self, query: Any, vars: Any = None) -> None:
        if self._begins:
            if isinstance(query, str):
                query = f"BEGIN; {query}"
            else:
                super().execute("BEGIN")
        super().execute(query, vars)

    @override
    def executemany(self, query: Any, vars_list: Any) -> None:
        if self._begins:
            super().execute("BEGIN")
        super().executemany(query, vars_list)


def _wait(connection: extensions.connection) -> None:
    """Wait until psycopg2 can go on; psycopg2 closes the connection when this raises."""
    patience = getattr(connection, "patience", None)
    deadline = None if patience is None else time.monotonic() + patience
    while (state := connection.poll()) != extensions.POLL_OK:
        # Anew each time: while it connects, the socket can become another one.
        poller = select.poll()
        poller.register(
            connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        )
        rest = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poller.poll(rest):
            raise DriverError("the server did not answer in time")


extensions.set_wait_callback(_wait)


def _postgresql(settings: Settings, **options: Any) -> Engine:
    answer_within = options.pop("answer_within", settings.statement_timeout + 1)
    connect_within = min(settings.connect_timeout, answer_within)
    timeouts = {
        "statement_timeout": settings.statement_timeout,
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": 3 * settings.statement_timeout,
    }
    server_options = [
        *(f"-c {name}={int(value * 1000)}" for name, value in timeouts.items()),
        "-c timezone=UTC",
        r"-c default_transaction_isolation=read\ committed",
    ]

    class Connecting(PatientConnection):
        """One that does not wait for its server yet as long as for an answer."""

    engine = create_engine(
        connection_url(settings.database_url),
        connect_args={
            "connection_factory": Connecting,
            "cursor_factory": BeginningCursor,
            "application_name": "vibetracker",
            "options": " ".join(server_options),
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
        pool_recycle=1800,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        hide_parameters=True,
        **options,
    )

    hosts = _hosts(engine)
    Connecting.patience = connect_within / len(hosts)

    @event.listens_for(engine, "do_connect")
    def try_each_host(
        dialect: Dialect, _: ConnectionPoolEntry, __: list[Any], parameters: dict[str, Any]
    ) -> DBAPIConnection:
        # libpq goes on to the next one only when a host refuses, not when it keeps silent.
        candidates = hosts[:]
        for number, host in enumerate(candidates):
            try:
                connection: DBAPIConnection = dialect.connect(**parameters | host)
            except DriverError:
                if number == len(candidates) - 1:
                    raise
            else:
                # The next connection begins where this one found what it looked for.
                hosts[:] = candidates[number:] + candidates[:number]
                return connection
        raise AssertionError("a URL names one host at least")

    @event.listens_for(engine, "connect")
    def be_patient(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.patience = answer_within

    return engine


def _hosts(engine: Engine) -> list[dict[str, str]]:
    """Give the servers that a URL names, ``host=a,b`` and ``port=1,2``, each by itself."""
    _, parameters = engine.dialect.create_connect_args(engine.url)
    named = {name: str(parameters.get(name, "")).split(",") for name in ("host", "port")}
    return [
        {"host": host, "port": named["port"][min(number, len(named["port"]) - 1)]}
        for number, host in enumerate(named["host"])
    ]


def _sqlite(settings: Settings, **options: Any) -> Engine:
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
    def keep_references(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def lock_before_reading(connection: Connection) -> None:
        # What a write decides on must not change before it writes; without this SQLite locks only
        # at the first INSERT or UPDATE, and fails where two transactions get there together.
        if "isolation_level" in connection.get_execution_options():
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def lock(connection: Connection | Session, name: str, *, shared: bool = False) -> None:
    """Hold a named lock until the transaction ends; SQLite's writes exclude each other anyway."""
    if _dialect(connection) == "postgresql":
        function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        connection.execute(text(f"SELECT {function}(:key)"), {"key": lock_key(name)})


def lock_key(name: str) -> int:
    """Turn a name into the 64-bit number that PostgreSQL knows an advisory lock by."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


def _dialect(connection: Connection | Session) -> str:
    bind = connection.get_bind() if isinstance(connection, Session) else connection
    return bind.dialect.name


class Database:
    """One database: engine, pool, and the sessions of requests."""

    def __init__(self, settings: Settings) -> None:
        url = connection_url(settings.database_url)
        self.in_memory = url.get_backend_name() == "sqlite" and url.database in {
            None,
            "",
            ":memory:",
        }
        connect = _sqlite if url.get_backend_name() == "sqlite" else _postgresql
        # In memory the one connection *is* the database, so requests take turns.
        size = self._size = 1 if self.in_memory else settings.pool_size
        self.engine = connect(
            settings, pool_size=size, max_overflow=0, pool_timeout=settings.pool_timeout
        )
        self._probe = self.engine
        if not self.in_memory:
            extra = {} if connect is _sqlite else {"answer_within": PROBE_TIMEOUT}
            self._probe = connect(
                settings, pool_size=1, max_overflow=0, pool_timeout=PROBE_TIMEOUT / 4, **extra
            )
        # Connections run each statement by itself, as reading needs, unless they are asked not to.
        level = "SERIALIZABLE" if connect is _sqlite else "READ COMMITTED"
        self._writers = self.engine.execution_options(isolation_level=level)
        self._places = asyncio.Semaphore(size)
        self._threads = ThreadPoolExecutor(size)
        self._patience = settings.pool_timeout
        self._prepared = False

    def session(self, *, write: bool) -> Session:
        """Open a session; one that only reads runs each statement by itself, without BEGIN.

        Changes are written by ``flush`` and at the end, not by queries in between, so that one
        request changes a row's version once.
        """
        return Session((self._writers if write else self.engine).connect())

    async def run[T](self, work: Callable[..., T], *arguments: Any) -> T:
        """Run work that takes a connection in a thread; ``Unavailable`` where none gets free.

        Those that wait in line hold no thread.
        """
        if not self._prepared:
            raise Unavailable("The database is not ready yet")
        if not self._places.locked():
            await self._places.acquire()
        else:
            try:
                async with asyncio.timeout(self._patience):
                    await self._places.acquire()
            except TimeoutError:
                raise Unavailable("All database connections are busy") from None
        # The shortest way: what a worker of anyio and a future that knows threads can do beyond it
        # takes longer.
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._threads.submit(copy_context().run, self._work, answer, work, arguments)
        return await answer

    def _work[T](
        self, answer: asyncio.Future[T], work: Callable[..., T], arguments: tuple[Any, ...]
    ) -> None:
        """Do the work of a request in a thread, and hand over what comes of it."""
        try:
            hand_over = partial(answer.set_result, work(*arguments))
        except StopIteration as error:
            # The one exception that a future does not take.
            failure = RuntimeError("the work raised StopIteration")
            failure.__cause__ = error
            hand_over = partial(answer.set_exception, failure)
        except BaseException as error:  # Whatever it is, the request is to have it.
            hand_over = partial(answer.set_exception, error)
        answer.get_loop().call_soon_threadsafe(self._finish, answer, hand_over)

    def _finish[T](self, answer: asyncio.Future[T], hand_over: Callable[[], None]) -> None:
        # Not before, so that a request which is given up keeps its place while the thread works.
        self._places.release()
        if not answer.cancelled():
            hand_over()

    def prepare(self) -> None:
        """Create the tables that are missing; safe when several processes do it at once.

        Raises ``OutdatedSchemaError`` when an existing table lacks columns.
        """
        with self.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        with self._writers.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL lock_timeout = 0"))
            lock(connection, "vibetracker schema")
            Base.metadata.create_all(connection)
            if missing := _missing_columns(connection):
                raise OutdatedSchemaError(
                    f"the database lacks {', '.join(missing)}; it was made by an older version, "
                    "and there are no migrations: add the columns by hand or use a new database"
                )
        self._prepared = True

    async def prepare_or_wait(self) -> None:
        """Prepare now if the database is there; raises only what waiting would not mend."""
        try:
            await run_in_threadpool(self.prepare)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            logger.warning("the database is not reachable: %s", reason(error))

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
        """Go to the database and back; raises ``SQLAlchemyError`` or ``Unavailable``."""
        if not self._prepared:
            raise Unavailable("The database is not ready yet")
        begun = time.monotonic()
        try:
            self._go_and_come_back()
        except DBAPIError as error:
            # That a connection has been lost since the last time says nothing of the database now.
            in_time = time.monotonic() - begun < PROBE_TIMEOUT / 4
            if not (error.connection_invalidated and in_time):
                raise
            self._go_and_come_back()

    def _go_and_come_back(self) -> None:
        with self._probe.connect() as connection:
            connection.execute(text("SELECT 1"))

    def dispose(self) -> None:
        """Close every connection, and let the threads end."""
        self._threads.shutdown(wait=False)
        self._threads = ThreadPoolExecutor(self._size)
        self.engine.dispose()
        self._probe.dispose()


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


def reason(error: Exception) -> str:
    """Tell what the driver said in one line, without SQL and parameters."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__


def code_of(error: DBAPIError) -> str:
    """Give the SQLSTATE, or SQLite's name of the error; empty when the driver tells neither."""
    code = getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlite_errorname", None)
    return code or ""


def is_outage(error: SQLAlchemyError) -> bool:
    """Tell whether the same statement may succeed later, on a database that is well again."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    code = code_of(error)
    if error.connection_invalidated or not code:
        return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))
    if code.startswith("SQLITE_"):
        return isinstance(error, OperationalError) and code != "SQLITE_ERROR"
    return code.startswith(OUTAGES) or code in LOST_RACES


async def get_database(request: Request) -> Database:
    """Give the application's database; tests override this."""
    database: Database = request.app.state.database
    return database


DatabaseDep = Annotated[Database, Depends(get_database)]


def database_of(request: Request) -> Database:
    """Give the application's database, or what a test has put in its place."""
    override = request.app.dependency_overrides.get(get_database)
    database: Database = override() if override else request.app.state.database
    return database


def get_session() -> Session:
    """Stand for the session that an operation makes for its handler."""
    raise RuntimeError("only the handler of an operation can take a SessionDep")


SessionDep = Annotated[Session, Depends(get_session)]
"""A session that commits before the response leaves, or rolls back."""
