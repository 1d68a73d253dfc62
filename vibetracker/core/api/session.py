"""The session of a request: one transaction, which is committed before the answer is sent."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import event
from sqlalchemy.orm import Session
from starlette.background import BackgroundTasks
from starlette.responses import Response

from vibetracker.core.api import idempotency
from vibetracker.core.api.answers import Answers
from vibetracker.core.api.fields import Fields
from vibetracker.core.api.parameters import flag
from vibetracker.core.api.preconditions import Preconditions
from vibetracker.core.db.changes import call_listeners
from vibetracker.core.db.database import Database, refuse_writes

REFUSES_COMMIT = "vibetracker.refuses_commit"
"""In a session's ``info``: whether the operation has not come to its commit."""


async def get_database(request: Request) -> Database:
    """Return the application's database; tests override this."""
    database: Database = request.app.state.database
    return database


DatabaseDep = Annotated[Database, Depends(get_database)]


def database_of(request: Request) -> Database:
    """Return the application's database, or what overrides the dependency."""
    if get_session in request.app.dependency_overrides:
        raise TypeError("override get_database: core commits the sessions of its database alone")
    override = request.app.dependency_overrides.get(get_database)
    database: Database = override() if override else request.app.state.database
    return database


async def get_session(request: Request, response: Response) -> Session:
    """Return the session of the request's transaction, the same for all that take it."""
    transaction: Transaction = request.state.transaction
    transaction.injected = response
    return transaction.session


SessionDep = Annotated[Session, Depends(get_session)]
"""An SQLAlchemy session that is committed before the answer is sent, or rolled back."""


class Transaction:
    """One try of a request's work on the database."""

    injected: Response
    """Has the status and the header fields that handlers and dependencies have set."""

    def __init__(
        self, database: Database, request: Request, answers: Answers, *, writes: bool
    ) -> None:
        self.request = request
        self.answers = answers
        self.writes = writes
        self.session = database.session(write=writes)
        self.is_dry_run = writes and flag(request, "dry_run")
        self.keeps = writes and not self.is_dry_run
        """Whether what is written is committed: not by a dry run, and not by a replay."""
        self.session.info[Preconditions] = Preconditions.of(
            request, may_be_unchanged=answers.may_be_unchanged
        )
        self.session.info[Fields] = getattr(request.state, "fields", None)
        self.is_over = False
        """Whether the work is done, and the connection returned to the pool."""
        self.is_running = False
        """Whether a thread is at work on it."""
        self.session.info[REFUSES_COMMIT] = True

    def answer(self, work: Callable[[], Any]) -> Response:
        """Do the work, and make its answer; with an ``Idempotency-Key``, once.

        A dry run leaves its key free, but may not have that of another request.
        """
        key = idempotency.key_of(self.request) if self.request.method == "POST" else None
        if key is None:
            return self._work(work)
        fingerprint = idempotency.fingerprint_of(self.request)
        # What dependencies have added is there already if this is a replay, which keeps none of it.
        with self.session.no_autoflush:
            stored = idempotency.replay(self.session, key, fingerprint)
        if stored is not None:
            self.keeps = False
            return without_background(stored)
        response = self._work(work)
        if response.status_code < HTTPStatus.BAD_REQUEST and self.keeps:
            idempotency.store(self.session, key, fingerprint, response)
        return response

    def _work(self, work: Callable[[], Any]) -> Response:
        result = work()
        # Of a session that only reads, what is written is refused here.
        self.session.flush()
        if self.writes:
            self.session.info[Preconditions].refuse_unchecked()
            if self.keeps:
                # Before the response is made, since it has the version that they leave behind.
                call_listeners(self.session)
        response = self.answers.respond(
            result, self.request, self.injected, is_dry_run=self.is_dry_run
        )
        return without_background(response) if self.is_dry_run else response

    def commit(self) -> None:
        """Commit what the transaction keeps."""
        if not self.writes:
            self.session.flush()
        elif self.keeps:
            call_listeners(self.session)
            self.session.info[REFUSES_COMMIT] = False
            self.session.commit()

    def refuse_writes(self) -> None:
        """Let what is sent from now on read alone: after the commit nothing more is kept."""
        if self.writes:
            refuse_writes(self.session, "what is written while the answer is sent would be lost")

    def end(self) -> None:
        """Return the connection to the pool; what is not committed is rolled back."""
        self.is_over = True
        if self.writes and self.session.in_transaction():
            # Closing alone would not call those that listen for a rollback.
            self.session.rollback()
        self.session.close()


@event.listens_for(Session, "before_commit")
def _refuse_commit(session: Session) -> None:
    """Refuse a commit by a handler: a dry run, a retry and a replay would find it done."""
    if session.info.get(REFUSES_COMMIT) and not session.in_nested_transaction():
        raise TypeError("the operation commits by itself; leave commit() and begin() out")


def without_background(response: Response) -> Response:
    """Keep FastAPI from adding background tasks to an answer whose effect is not, or not again."""
    response.background = BackgroundTasks()
    return response
