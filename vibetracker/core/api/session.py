"""The session of a request: one transaction, which is committed before the answer is sent."""

import random
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.background import BackgroundTasks
from starlette.responses import Response

from vibetracker.core.api import idempotency
from vibetracker.core.api.parameters import flag
from vibetracker.core.api.preconditions import Preconditions, guard
from vibetracker.core.db.changes import call_listeners
from vibetracker.core.db.database import Database
from vibetracker.core.db.failures import is_worth_another_try
from vibetracker.core.http.bodies import StrictRequest

MAX_ATTEMPTS = 4
"""How often one request tries its transaction."""
BACKOFF = 0.02
"""Seconds of the longest pause before a transaction's second try; doubles with each further one."""


async def get_database(request: Request) -> Database:
    """Return the application's database; tests override this."""
    database: Database = request.app.state.database
    return database


DatabaseDep = Annotated[Database, Depends(get_database)]


def database_of(request: Request) -> Database:
    """Return the application's database, or what overrides the dependency."""
    override = request.app.dependency_overrides.get(get_database)
    database: Database = override() if override else request.app.state.database
    return database


async def get_session(request: Request) -> Session:
    """Return the session of the request's transaction, the same for all that take it."""
    transaction: Transaction = request.state.transaction
    return transaction.session


SessionDep = Annotated[Session, Depends(get_session)]
"""An SQLAlchemy session that is committed before the answer is sent, or rolled back."""


class Transaction:
    """One try of a request's work on the database."""

    def __init__(self, database: Database, request: Request, *, writes: bool) -> None:
        self.writes = writes
        self.session = database.session(write=writes)
        self.is_dry_run = writes and flag(request, "dry_run")
        guard(self.session, Preconditions.of(request))
        self.is_over = False
        """Whether the work is done, and the connection given back."""
        self.is_running = False
        """Whether a thread is at work on it."""
        self._is_committing = False

    def answer(
        self, request: StrictRequest, work: Callable[[], Any], respond: Callable[..., Response]
    ) -> Response:
        """Do the work, and make its answer; with an ``Idempotency-Key``, once.

        ``respond`` makes the response of what the work returns.
        """
        key = idempotency.key_of(request) if request.method == "POST" else None
        if key is None or self.is_dry_run:
            return self._work(work, respond)
        fingerprint = idempotency.fingerprint_of(request)
        stored = idempotency.replay(self.session, key, fingerprint)
        if stored is not None:
            return without_background(stored)
        response = self._work(work, respond)
        if response.status_code < HTTPStatus.BAD_REQUEST:
            idempotency.store(self.session, key, fingerprint, response)
        return response

    def _work(self, work: Callable[[], Any], respond: Callable[..., Response]) -> Response:
        result = work()
        if not self.writes:
            if self.session.new or self.session.dirty or self.session.deleted:
                raise TypeError("a GET only reads; give what changes rows another method")
            return respond(result, is_dry_run=False)
        self.session.flush()
        if not self.is_dry_run:
            # Before the response is made, since it has the version that they leave behind.
            call_listeners(self.session)
        response = respond(result, is_dry_run=self.is_dry_run)
        return without_background(response) if self.is_dry_run else response

    def commit(self) -> None:
        """End the transaction; a dry run keeps nothing."""
        if self.writes and not self.is_dry_run:
            call_listeners(self.session)
            self._is_committing = True
            self.session.commit()

    def end(self) -> None:
        """Return the connection to the pool; what is not committed is rolled back."""
        self.is_over = True
        self.session.close()

    @property
    def is_open(self) -> bool:
        """Whether the session holds a connection."""
        return self.session.in_transaction()

    def may_succeed_again(self, error: SQLAlchemyError, attempt: int) -> bool:
        """Return whether to try once more after this error.

        Not for an error of COMMIT, which leaves open whether there was one.
        """
        may_try = attempt < MAX_ATTEMPTS and not self._is_committing
        return may_try and is_worth_another_try(error, attempt)


def without_background(response: Response) -> Response:
    """Keep FastAPI from adding background tasks to an answer whose effect is not, or not again."""
    response.background = BackgroundTasks()
    return response


def pause_before(attempt: int) -> float:
    """Return the seconds to wait before a further attempt, which spreads the load of rivals."""
    return random.uniform(0, BACKOFF * 2**attempt)  # noqa: S311 - no secret
