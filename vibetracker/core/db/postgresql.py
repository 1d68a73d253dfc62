"""The engine for PostgreSQL: connections that give up on a server which does not answer."""

import select
import time
from typing import Any, cast, override

from psycopg2 import InternalError, NotSupportedError, extensions
from psycopg2 import OperationalError as DriverError
from sqlalchemy import Dialect, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from vibetracker.core.config import Settings, connection_url
from vibetracker.core.db.failures import NoAnswerError, is_refused
from vibetracker.core.db.pooler import SessionSettings

LEVELS = {
    extensions.ISOLATION_LEVEL_AUTOCOMMIT,
    extensions.ISOLATION_LEVEL_READ_COMMITTED,
    extensions.ISOLATION_LEVEL_DEFAULT,
}
"""What a connection can be set to: no transactions, or those that the server's setting makes."""


class PatientConnection(extensions.connection):
    """A connection that waits for an answer no longer than its ``patience``.

    ``statement_timeout`` is kept by the server, and a frozen server keeps nothing. psycopg2 waits
    through the wait callback for statements alone; its own BEGIN, COMMIT and ROLLBACK would wait
    for ever. So the driver is in autocommit, and these are statements here.
    """

    patience: float
    """Seconds to wait for one answer."""

    is_transactional = False
    """Whether the next statement begins a transaction."""

    beginning = "BEGIN; "
    alone = ""
    """What a transaction, and a statement without one, take along."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        super().set_session(autocommit=True)

    @property
    def autocommit(self) -> bool:
        """Whether there is nothing to roll back; SQLAlchemy reads it."""
        is_idle = self.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE
        return not self.is_transactional and is_idle

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.is_transactional = not value

    @override
    def set_isolation_level(self, level: int | None) -> None:
        """Switch transactions, and leave the level to the server's setting made at connect.

        psycopg2 would send that setting again with each switch: one more round trip, in a place
        where SQLAlchemy does not translate the error of a lost connection.
        """
        if level not in LEVELS:
            raise NotSupportedError("transactions are READ COMMITTED, or none")
        self.autocommit = level == extensions.ISOLATION_LEVEL_AUTOCOMMIT

    @override
    def cursor(self, name: Any = None, *arguments: Any, **options: Any) -> Any:
        """Make a cursor; one with a name, on the server, also outlives the driver's autocommit."""
        if name is None:
            return super().cursor(*arguments, **options)
        return super().cursor(name, *arguments, **{"withhold": True, **options})

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
    """A cursor whose first statement in a transaction takes the BEGIN along.

    One round trip less for each transaction.
    """

    @property
    def _before(self) -> str:
        connection = cast(PatientConnection, self.connection)
        if connection.get_transaction_status() != extensions.TRANSACTION_STATUS_IDLE:
            return ""
        # Behind a pooler the next statement may be in another session, which lacks this cursor.
        is_bound = self.name is not None and connection.alone
        if connection.is_transactional or is_bound:
            return connection.beginning
        return connection.alone

    @override
    def execute(self, query: Any, vars: Any = None) -> None:
        if before := self._before:
            if isinstance(query, str) and self.name is None:
                query = before + query
            else:
                self._begin(before)
        super().execute(query, vars)

    @override
    def executemany(self, query: Any, vars_list: Any) -> None:
        if before := self._before:
            self._begin(before)
        super().executemany(query, vars_list)

    def _begin(self, before: str) -> None:
        extensions.cursor.execute(self.connection.cursor(), before)


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
            raise NoAnswerError("the server did not answer in time")


extensions.set_wait_callback(_wait)


def postgresql_engine(
    settings: Settings, *, answer_within: float | None = None, **options: Any
) -> Engine:
    """Create an engine in autocommit; ``answer_within`` is in seconds.

    By default a statement has ``STATEMENT_TIMEOUT`` and a second more for the way.
    """
    patience = answer_within or settings.statement_timeout + 1
    connect_within = min(settings.connect_timeout, patience)
    url = connection_url(settings.database_url)
    own_options = str(url.query.get("options", ""))
    session_settings = SessionSettings(settings, logs=answer_within is None)

    class Connecting(PatientConnection):
        """One that does not wait for its server yet as long as for an answer."""

    engine = create_engine(
        url,
        connect_args={
            "connection_factory": Connecting,
            "cursor_factory": BeginningCursor,
            "application_name": "vibetracker",
            "options": f"{own_options} {session_settings.options}",
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
                connection: DBAPIConnection = connect(dialect, parameters, host)
                session_settings.ensure(connection)
            except DriverError:
                if number == len(candidates) - 1:
                    raise
            else:
                # The next connection begins where this one found what it looked for.
                hosts[:] = candidates[number:] + candidates[:number]
                return connection
        raise AssertionError("a URL names one host at least")

    def connect(dialect: Dialect, parameters: dict[str, Any], host: dict[str, str]) -> Any:
        try:
            return dialect.connect(**parameters | host)
        except DriverError as error:
            if not is_refused(error) or parameters["options"] == own_options:
                raise
        # For all connections from now on, since SQLAlchemy uses these parameters again.
        parameters["options"] = own_options
        return dialect.connect(**parameters | host)

    @event.listens_for(engine, "connect")
    def be_patient(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.patience = patience

    return engine


def _hosts(engine: Engine) -> list[dict[str, str]]:
    """Return the servers that a URL names, ``host=a,b`` and ``port=1,2``, each by itself."""
    _, parameters = engine.dialect.create_connect_args(engine.url)
    named = {name: str(parameters.get(name, "")).split(",") for name in ("host", "port")}
    return [
        {"host": host, "port": named["port"][min(number, len(named["port"]) - 1)]}
        for number, host in enumerate(named["host"])
    ]
