"""Wakes those who wait for changes, in this process and in others, once they are committed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Timer
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, Pool, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

CHANNEL = "vibetracker_changes"
DELAY = 0.02
"""Seconds in which others are notified once, however much is committed."""

_NOTIFY = text("SELECT pg_notify(:channel, :payload)")


class Bell:
    """Rings when changes of one database are committed."""

    _bells: WeakKeyDictionary[Pool, "Bell"] = WeakKeyDictionary()

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._lock = Lock()
        self._is_notifying = False

    @classmethod
    def of(cls, engine: Engine) -> "Bell":
        """Return the bell of a database; engines share it that share their connections."""
        return cls._bells.setdefault(engine.pool, cls(engine))

    @contextmanager
    def heard(self) -> Iterator[asyncio.Event]:
        """Return the event that is set whenever the bell rings."""
        hearer = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(hearer)
        try:
            yield hearer[1]
        finally:
            self._waiting.discard(hearer)

    def ring(self) -> None:
        """Wake those in this process, and in a moment those in others."""
        for loop, woken in [*self._waiting]:
            # One whose loop has ended hears nothing.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(woken.set)
        if self._engine.dialect.name != "postgresql":
            return
        # Not in the transaction: those that notify are committed one after the other.
        with self._lock:
            if self._is_notifying:
                return
            self._is_notifying = True
        timer = Timer(DELAY, self._notify_others)
        timer.daemon = True
        timer.start()

    def _notify_others(self) -> None:
        with self._lock:
            self._is_notifying = False
        # Those who miss it look by the clock.
        with suppress(SQLAlchemyError):
            notify(self._engine)


def notify(engine: Engine, payload: str = "") -> None:
    """Notify everybody who listens on the channel of changes."""
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(_NOTIFY, {"channel": CHANNEL, "payload": payload})


def ring_after_commit(session: Session) -> None:
    """Ring the bell when the transaction of a session has been committed."""
    session.info[Bell] = True


@event.listens_for(Session, "after_commit")
def _after_commit(session: Session) -> None:
    if session.info.pop(Bell, False):
        bind = session.get_bind()
        Bell.of(bind.engine).ring()
