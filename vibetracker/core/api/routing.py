"""The router of every feature: strict input, one transaction per request, one kind of answer."""

import asyncio
import functools
import itertools
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import ContextVar
from http import HTTPStatus
from operator import attrgetter
from tempfile import SpooledTemporaryFile
from typing import Any, override
from weakref import WeakKeyDictionary

from anyio import from_thread
from fastapi import APIRouter, FastAPI, Request, params
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Match, get_name
from starlette.types import Message, Receive, Scope, Send

from vibetracker.core.api import idempotency, parameters, support
from vibetracker.core.api.answers import Answers
from vibetracker.core.api.errors import problem_of
from vibetracker.core.api.fields import answer_of, fields_of
from vibetracker.core.api.openapi import document
from vibetracker.core.api.session import (
    REFUSES_COMMIT,
    Transaction,
    database_of,
    get_session,
    without_background,
)
from vibetracker.core.db.failures import is_worth_another_try
from vibetracker.core.http.bodies import StrictRequest, parse_json
from vibetracker.core.http.boundary import SAFE_METHODS
from vibetracker.core.http.problems import Problem, invalid

IN_MEMORY = 1024 * 1024
"""Bytes of a file beyond which it is on disk."""
BACKOFF = 0.02
"""Seconds, doubled with each try of a transaction: the longest pause before another one."""
_current: ContextVar[Request] = ContextVar("_current")
"""The request that is answered, in its task and in its threads."""


class Operation(APIRoute):
    """One operation of the API: a FastAPI route with the rules that all of them share.

    Unknown and repeated parameters, foreign content types and bodies nobody asked for are refused.
    Where the handler or a dependency takes a ``SessionDep``, the handler, the making of its answer
    and the commit are one call in one thread, and a transaction that lost a race is tried again,
    dependencies and all.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._documented: WeakKeyDictionary[FastAPI, dict[str, bool]] = WeakKeyDictionary()
        responses = options.get("responses") or {}
        raised = [responses.pop(key) for key, it in [*responses.items()] if isinstance(it, type)]
        name = options.pop("name", None) or get_name(endpoint)
        super().__init__(path, self._in_transaction(endpoint), name=name, **options)
        self.verb, *others = self.methods or {"GET"}
        if others:
            raise support.UnsupportedError(f"{name}: write one handler for each method")
        self.writes = self.verb not in SAFE_METHODS
        self.is_transaction = parameters.depends_on(self.dependant, get_session)
        """Whether the handler or a dependency takes the session."""
        self.takes_file = parameters.depends_on(self.dependant, parameters.get_body_file)
        """Whether the body is received into a file: it may be more than memory should hold."""
        self._media_types = parameters.media_types_of(self, self.verb) if self.writes else ()
        """Those that a body can have; where the operation only reads, any."""
        self._has_late_work = any(
            map(support.has_late_work, parameters.dependencies(self.dependant))
        )
        support.refuse_unsupported(self, endpoint, writes=self.writes)
        self._answers = Answers(self)
        self._answer = None if self.writes else answer_of(self)
        field = None if self.body_field is None else self.body_field.field_info
        self._form = field if isinstance(field, params.Form) else None
        document(
            self,
            verb=self.verb,
            reads=not self.writes,
            transaction=self.is_transaction,
            has_etag=self.is_transaction and self._answers.has_etag,
            raises=raised,
        )

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Leave a path that is spelled out elsewhere to the operations that spell it out.

        So ``GET /things/search`` is a wrong method where that path has a POST alone, and not a
        malformed id.
        """
        match, child_scope = super().matches(scope)
        if match is not Match.NONE and "{" in self.path_format:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if "{" not in path and path in scope["app"].openapi()["paths"]:
                return Match.NONE, {}
        return match, child_scope

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        original = super().get_route_handler()

        async def handler(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            if self._form is not None:
                form, model = strict.form, self._form.annotation
                # FastAPI calls it with the limits of the route and of its router.
                strict.form = lambda **limits: parameters.check_form(form(**limits), model)  # type: ignore[method-assign, assignment] # FastAPI awaits it, and never enters it
            response = await original(strict)
            if self.is_transaction and request.state.transaction.is_over:
                request.state.release()
            return response

        return handler

    async def _receive(self, request: Request) -> bytes:
        """Check the query, and receive the body, before anything else is held for the request."""
        if request.scope["query_string"]:
            parameters.check_query(request, self._documented_parameters(request))
            if self._answer is not None:
                request.state.fields = fields_of(
                    request, self._answer, is_plain=self._answers.is_plain
                )
        check_kind = functools.partial(parameters.check_kind, request, self.verb, self._media_types)
        if request.headers.get("content-length", "0") != "0":
            check_kind(is_required=False)
        state = request.app.state
        max_size = self.max_body_size or state.settings.max_body_size
        body = bytearray()
        write: Callable[[bytes], object] = body.extend
        if self.takes_file:
            request.state.file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - see handle
            write = request.state.file.write
        try:
            size = await state.uploads.receive(request, max_size, write)
            if self.takes_file:
                request.state.file.flush()
        except OSError as error:
            raise problem_of(error) from error
        if size:
            is_read = self.takes_file or self.body_field is not None
            check_kind(is_required=is_read)
            # An empty object counts as none.
            if not is_read and parse_json(bytes(body)) != {}:
                raise invalid("This operation takes no body", code="extra_forbidden", pointer="")
        return bytes(body)

    def _documented_parameters(self, request: Request) -> dict[str, bool]:
        """Read from the OpenAPI document what is accepted, and whether it may be repeated.

        So what is undocumented is refused, and what is documented is taken, by each application
        that has this route.
        """
        app: FastAPI = request.app
        if app not in self._documented:
            operation = app.openapi()["paths"][self.path_format][self.verb.lower()]
            self._documented[app] = {
                parameter["name"]: parameter["schema"].get("type") == "array"
                for parameter in operation.get("parameters", ())
                if parameter["in"] == "query"
            } | dict.fromkeys(parameters.query_keys(self.dependant), False)
        return self._documented[app]

    def _in_transaction(self, endpoint: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler into the endpoint that FastAPI calls, which has the same signature.

        Where there is a transaction it makes the whole answer and commits; FastAPI passes that on.
        """
        if support.is_generator(endpoint):
            return endpoint

        @functools.wraps(endpoint)
        def run(**arguments: Any) -> Any:
            parameters.refuse_collected(_current.get())
            work = functools.partial(endpoint, **arguments)
            return self._run(work) if self.is_transaction else self._narrowed(work(), arguments)

        @functools.wraps(endpoint)
        async def run_async(**arguments: Any) -> Any:
            parameters.refuse_collected(_current.get())
            if not self.is_transaction:
                return self._narrowed(await endpoint(**arguments), arguments)
            work = functools.partial(endpoint, **arguments)
            return await run_in_threadpool(self._run, lambda: from_thread.run(work))

        return run_async if support.is_async(endpoint) else run

    def _narrowed(self, result: Any, arguments: Mapping[str, Any]) -> Any:
        """Return what a handler without a session has returned, or its answer for ``fields``."""
        request = _current.get()
        if getattr(request.state, "fields", None) is None:
            return result
        injected = next((it for it in arguments.values() if isinstance(it, Response)), None)
        return self._answers.respond(result, request, injected, is_dry_run=False)

    def _run(self, work: Callable[[], Any]) -> Response:
        """Do the work of a handler, make its answer, and commit."""
        transaction: Transaction = _current.get().state.transaction
        transaction.is_running = True
        is_over = True
        try:
            response = transaction.answer(work)
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                without_background(response)
            elif not self._has_late_work:
                transaction.commit()
            # A stream, which has no body yet, may read from the session while it is sent.
            is_over = not self._has_late_work and hasattr(response, "body")
            if not is_over and not self._has_late_work:
                transaction.refuse_writes()
            return response
        finally:
            transaction.is_running = False
            if is_over:
                transaction.end()

    @override
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose path is this operation's."""
        if scope["method"] != self.verb:
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive)
        _current.set(request)
        try:
            request.state.body = await self._receive(request)
            if self.is_transaction:
                await self._handle_transaction(request, send)
            else:
                if self.verb == "POST" and idempotency.key_of(request):
                    raise idempotency.not_stored()
                await super().handle(scope, receive, send)
        except SQLAlchemyError as error:
            raise problem_of(error) from error
        finally:
            if self.takes_file and hasattr(request.state, "file"):
                with suppress(OSError):  # what was not written is not written now either
                    request.state.file.close()

    async def _handle_transaction(self, request: Request, send: Send) -> None:
        database = database_of(request)
        request.state.release = release = await database.reserve_connection()
        try:
            for attempt in itertools.count(1):
                transaction = Transaction(database, request, self._answers, writes=self.writes)
                request.state.transaction = transaction
                try:
                    committing = self._committing(transaction, send)
                    await super().handle(request.scope, request.receive, committing)
                except SQLAlchemyError as error:
                    # An error of COMMIT leaves open whether there was one.
                    has_tried_to = not transaction.session.info[REFUSES_COMMIT]
                    if has_tried_to or not is_worth_another_try(error, attempt):
                        raise
                else:
                    return
                finally:
                    # A thread that goes on after its request was cancelled ends it by itself.
                    if transaction.session.in_transaction() and not transaction.is_running:
                        await run_in_threadpool(transaction.end)
                # At random, which spreads the load of rivals.
                await asyncio.sleep(random.uniform(0, BACKOFF * 2**attempt))  # noqa: S311 - no secret
        finally:
            release()

    def _committing(self, transaction: Transaction, send: Send) -> Send:
        """Commit before the answer begins, where a dependency has done more after the handler."""
        if not self._has_late_work:
            return send

        async def committing(message: Message) -> None:
            if (
                message["type"] == "http.response.start"
                and message["status"] < HTTPStatus.BAD_REQUEST
            ):
                await run_in_threadpool(transaction.commit)
                transaction.refuse_writes()
            await send(message)

        return committing


def raising(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Declare the problems that an operation raises beyond those that every operation can.

    Those of a router are raised by all its operations.
    """
    return {problem.slug: problem for problem in problems}  # type: ignore[misc] # taken out again by Operation


class Router(APIRouter):
    """A feature's router; every route on it is an ``Operation``.

    With ``any_host`` it answers under every name: probes know an address, and not ALLOWED_HOSTS.
    With ``home`` its prefix is where a browser that asks for ``/`` is sent. Other options are
    those of ``APIRouter``.
    """

    def __init__(
        self,
        prefix: str,
        *,
        description: str,
        any_host: bool = False,
        home: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            prefix=prefix,
            tags=[prefix.removeprefix("/"), *(options.pop("tags", None) or ())],
            route_class=Operation,
            **{"generate_unique_id_function": attrgetter("name"), **options},
        )
        self.description = description
        self.any_host = any_host
        self.home = home
