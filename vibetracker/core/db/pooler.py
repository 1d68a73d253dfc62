"""The settings that a session of PostgreSQL needs, with and without a pooler in between.

A session gets them as it begins. PgBouncer and its kind refuse or ignore them there, and share a
session among clients; then each statement takes along what matters, in the same round trip.
"""

import logging
from datetime import UTC, datetime
from typing import Any

from psycopg2 import extensions

from vibetracker.core.config import Settings

logger = logging.getLogger(__name__)

FOUND = "SELECT name, setting FROM pg_settings WHERE name = ANY (%s)"


class SessionSettings:
    """What the sessions of an engine need."""

    def __init__(self, settings: Settings, *, logs: bool) -> None:
        limits = {
            "statement_timeout": settings.statement_timeout,
            "lock_timeout": settings.lock_timeout,
            "idle_in_transaction_session_timeout": 3 * settings.statement_timeout,
        }
        timeouts = {name: str(int(seconds * 1000)) for name, seconds in limits.items()}
        self._wanted = timeouts | {
            "TimeZone": "UTC",
            "default_transaction_isolation": "read committed",
        }
        self._timeouts = "".join(f"SET LOCAL {name} = {ms}; " for name, ms in timeouts.items())
        escaped = {name: value.replace(" ", r"\ ") for name, value in self._wanted.items()}
        self.options = " ".join(f"-c {name}={value}" for name, value in escaped.items())
        """For the ``options`` of a connection."""
        self._logs = logs

    def ensure(self, connection: Any) -> None:
        """Let a new connection make up for what its session lacks."""
        cursor = connection.cursor()
        cursor.execute(FOUND, (list(self._wanted),))
        missing = sorted(self._wanted.items() - set(cursor.fetchall()))
        if not missing:
            return
        connection.beginning = f"BEGIN ISOLATION LEVEL READ COMMITTED; {self._timeouts}"
        connection.alone = self._timeouts
        extensions.register_type(UTC_TIMESTAMP, connection)
        if self._logs:
            self._logs = False
            names = ", ".join(name for name, _ in missing)
            logger.info("each statement brings what the sessions begin without: %s", names)


def _to_utc(text: str | bytes | None, cursor: extensions.cursor) -> datetime | None:
    moment: datetime | None = extensions.PYDATETIMETZ(text, cursor)
    return moment and moment.astimezone(UTC)


UTC_TIMESTAMP = extensions.new_type(extensions.PYDATETIMETZ.values, "UTC_TIMESTAMP", _to_utc)
"""Reads an instant, whatever the session's time zone is."""
