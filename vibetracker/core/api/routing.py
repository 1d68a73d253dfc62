"""The router of every feature: strict input, one transaction per request, one kind of answer."""

import asyncio
import functools
import inspect
import itertools
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, override
from weakref import WeakKeyDictionary

from fastapi import APIRouter, FastAPI, Request, params
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from vibetracker.core.api.answers import Answers
from vibetracker.core.api.errors import problem_of
from vibetracker.core.api.openapi import document
from vibetracker.core.api.parameters import (
    check_encoding,
    check_form,
    check_media_type,
    check_query,
    check_unread,
    media_types_of,
    refuse_collected,
    require_media_type,
)
from vibetracker.core.api.session import (
    Transaction,
    database_of,
    pause_before,
    without_background,
)
from vibetracker.core.api.support import (
    UnsupportedError,
    dependencies,
    has_late_work,
    is_async,
    is_generator,
    refuse_unsupported,
    takes_session,
)
from vibetracker.core.http.bodies import StrictRequest
from vibetracker.core.http.boundary import SAFE_METHODS
from vibetracker.core.http.problems import Problem


class Operation(APIRoute):
    """One operation of the API: a FastAPI route with the rules that all of them share.

    Unknown and repeated parameters, foreign content types and bodies nobody asked for are refused.
    Where the handler or a dependency takes a ``SessionDep``, the handler, the making of its answer
    and the commit are one call in one thread, and a transaction that lost a race is tried again,
    dependencies and all.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        methods = list(options.get("methods") or ["GET"])
        if len(methods) != 1:
            raise UnsupportedError(f"{endpoint.__name__}: write one handler for each method")
        (self.verb,) = methods
        self._documented: WeakKeyDictionary[FastAPI, dict[str, bool]] = WeakKeyDictionary()
        self.writes = self.verb not in SAFE_METHODS
        raised = (options.get("responses") or {}).pop("problems", ())
        options["operation_id"] = options.get("operation_id") or endpoint.__name__
        max_body_size: int | None = options.pop("max_body_size", None)
        self.limit = max_body_size
        """Bytes of a body; None is the setting ``MAX_BODY_SIZE``."""
        super().__init__(path, self._in_transaction(endpoint), **options)
        refuse_unsupported(self, endpoint, writes=self.writes)
        self._answers = Answers(self)
        self._beginning = self.path_format.partition("{")[0]
        document(self, verb=self.verb, transaction=self.is_transaction, raises=raised)

    @functools.cached_property
    def is_transaction(self) -> bool:
        """Whether the handler or a dependency takes the session."""
        return takes_session(self.dependant)

    @functools.cached_property
    def media_types(self) -> tuple[str, ...]:
        """The media types that a body can have; none where no body is taken."""
        return media_types_of(self, self.verb)

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Leave a path that is spelled out elsewhere to the operations that spell it out.

        So ``GET /things/search`` is a wrong method where that path has a POST alone, and not a
        malformed id.
        """
        if self._beginning not in scope["path"]:
            return Match.NONE, {}
        match, child_scope = super().matches(scope)
        if match is not Match.NONE and "{" in self.path_format:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path in scope["app"].openapi()["paths"]:
                return Match.NONE, {}
        return match, child_scope

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        original = super().get_route_handler()

        async def handler(request: Request) -> Response:
            response = await original(request.state.request)
            if self.is_transaction and request.state.transaction.is_over:
                request.state.release()
            return response

        return handler

    async def _receive(self, scope: Scope, receive: Receive) -> None:
        """Check the query, and receive the body, before anything else is held for the request."""
        plain = Request(scope, receive)
        if scope["query_string"]:
            check_query(plain, self._documented_parameters(plain))
        request = StrictRequest(plain, self.limit or plain.app.state.settings.max_body_size)
        plain.state.request = request
        request.check_size()
        if not request.has_body:
            return
        if request.is_sized:
            self._check_kind(request)
        field = self.body_field
        is_form = field is not None and isinstance(field.field_info, params.Form)
        await request.receive_all(is_form=is_form)
        if not is_form and not await request.body():
            return
        self._check_kind(request)
        if field is None:
            await check_unread(request)
        else:
            require_media_type(request, self.verb, self.media_types)
            if is_form:
                check_form(await request.form(), field.field_info.annotation)

    def _check_kind(self, request: StrictRequest) -> None:
        check_encoding(request)
        if self.writes:
            check_media_type(request, self.verb, self.media_types)

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
            }
        return self._documented[app]

    def _in_transaction(self, endpoint: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler into the endpoint that FastAPI calls.

        It has the handler's parameters, and takes the request and the injected response too. Where
        there is a transaction it makes the whole answer and commits; FastAPI passes that on.
        """
        if is_generator(endpoint):
            return endpoint
        signature = inspect.signature(endpoint, eval_str=True)
        own = signature.parameters
        request_name = _taking(signature, Request, "vibetracker_request")
        response_name = _taking(signature, Response, "vibetracker_response")
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
            for name, annotation in ((request_name, Request), (response_name, Response))
            if name not in own
        ]

        def split(arguments: dict[str, Any]) -> tuple[StrictRequest, Response]:
            request, response = arguments[request_name], arguments[response_name]
            refuse_collected(request)
            for parameter in added:
                del arguments[parameter.name]
            return request, response

        @functools.wraps(endpoint)
        def run(**arguments: Any) -> Any:
            request, injected = split(arguments)
            work = functools.partial(endpoint, **arguments)
            return self._run(request, injected, work) if self.is_transaction else work()

        @functools.wraps(endpoint)
        async def run_async(**arguments: Any) -> Any:
            request, injected = split(arguments)
            result = await endpoint(**arguments)
            if not self.is_transaction:
                return result
            return await run_in_threadpool(self._run, request, injected, lambda: result)

        wrapper: Any = run_async if is_async(endpoint) else run
        wrapper.__signature__ = signature.replace(
            parameters=[*(it.replace(kind=it.KEYWORD_ONLY) for it in own.values()), *added]
        )
        taken: Callable[..., Any] = wrapper
        return taken

    def _run(self, request: StrictRequest, injected: Response, work: Callable[[], Any]) -> Response:
        """Do the work of a handler, make its answer, and commit."""
        transaction: Transaction = request.state.transaction
        transaction.is_running = True
        answers = functools.partial(self._answers.respond, request=request, injected=injected)
        is_over = True
        try:
            response = transaction.answer(request, work, answers)
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                without_background(response)
            elif not self._has_late_work:
                transaction.commit()
            # What a handler has made itself may read from the session while it is sent.
            is_over = not self._has_late_work and type(response) is Response
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
        try:
            await self._receive(scope, receive)
            if self.is_transaction:
                await self._handle_transaction(scope, receive, send)
            else:
                await super().handle(scope, receive, send)
        except SQLAlchemyError as error:
            raise problem_of(error) from error
        finally:
            # FastAPI closes a form that it has read; another one is refused before.
            if self.body_field is not None and "request" in scope["state"]:
                await scope["state"]["request"].close()

    async def _handle_transaction(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        database = database_of(request)
        release = await database.take_place()
        request.state.release = release
        try:
            for attempt in itertools.count(1):
                transaction = Transaction(database, request, writes=self.writes)
                request.state.transaction = transaction
                try:
                    await super().handle(scope, receive, self._committing(transaction, send))
                except SQLAlchemyError as error:
                    if not transaction.may_succeed_again(error, attempt):
                        raise
                else:
                    return
                finally:
                    # A thread that goes on after its request was cancelled ends it by itself.
                    if transaction.is_open and not transaction.is_running:
                        await run_in_threadpool(transaction.end)
                await asyncio.sleep(pause_before(attempt))
                await request.state.request.rewind()
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
            await send(message)

        return committing

    @functools.cached_property
    def _has_late_work(self) -> bool:
        return self.writes and any(map(has_late_work, dependencies(self.dependant)))


def _taking(signature: inspect.Signature, kind: type, otherwise: str) -> str:
    """Return the name of the parameter that takes an object of this kind."""
    return next(
        (
            parameter.name
            for parameter in signature.parameters.values()
            if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, kind)
        ),
        otherwise,
    )


def raising(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Declare the problems that an operation raises beyond those that every operation can."""
    return {"problems": problems}  # type: ignore[dict-item] # taken out again by Operation


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
            tags=[prefix.removeprefix("/")],
            route_class=Operation,
            **options,
        )
        self.description = description
        self.any_host = any_host
        self.home = home
