"""The router of every feature: strict input, one transaction per request, one kind of answer."""

import functools
import inspect
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, get_args, override
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant, solve_dependencies
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from vibetracker.core import idempotency
from vibetracker.core.bodies import StrictRequest
from vibetracker.core.database import SAFE_METHODS, Database, database_of, get_session
from vibetracker.core.failures import MAX_ATTEMPTS, is_worth_another_try
from vibetracker.core.model import Resource
from vibetracker.core.openapi import document
from vibetracker.core.paging import Rows
from vibetracker.core.parameters import Parameters
from vibetracker.core.preconditions import NotModified, Preconditions, guard
from vibetracker.core.problems import (
    Fault,
    MalformedRequest,
    Problem,
    UnsupportedMediaType,
    ValidationFailed,
    invalid,
)
from vibetracker.core.schema import Input, Output
from vibetracker.core.session import Session

MEDIA_TYPES = {
    "PATCH": ("application/json", "application/merge-patch+json"),
    "POST": ("application/json",),
    "DELETE": ("application/json",),
}
BACKOFF = 0.02
"""Seconds of the longest pause before a transaction's second try; doubles with each further one."""


class Operation(APIRoute):
    """One operation of the API, with the rules that all of them share.

    Unknown and doubled parameters, foreign content types and bodies nobody asked for are refused.
    A handler that takes a ``SessionDep`` runs, together with its commit and the making of its
    response, as one transaction in one thread; a transaction that lost a race is tried again. It
    returns a row, what ``read`` reads, a ``Rows``, an ``Output`` or, for 204, ``None``; ``ETag``,
    ``Location`` and ``Link`` follow from that.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        **options: Any,
    ) -> None:
        (self.verb,) = options["methods"]
        self.writes = self.verb not in SAFE_METHODS
        if self.writes and self.verb not in MEDIA_TYPES:
            raise TypeError(f"{endpoint.__name__}: the shared rules know nothing of {self.verb}")
        self._documented: dict[str, bool] | None = None
        signature = inspect.signature(endpoint, eval_str=True)
        self._session_name = _session_parameter(signature)
        self.is_transaction = self._session_name is not None
        self.parameters = Parameters(signature)
        raised = options["responses"].pop("problems", ())
        options["operation_id"] = options.get("operation_id") or endpoint.__name__
        self._work = endpoint
        declared = [rest for rest in self.parameters.rest if rest.name != self._session_name]
        super().__init__(path, _declare(endpoint, declared), **options)
        self._beginning = self.path_format.partition("{")[0]
        self._body = _strict_body(self)
        self._solver = self._take_over(declared)
        self._answer: TypeAdapter[Any] | None = None
        self._output: type[Output] | None = None
        if self.response_model is not None:
            self._answer = TypeAdapter(self.response_model)
            if isinstance(self.response_model, type) and issubclass(self.response_model, Output):
                self._output = self.response_model
        document(self, verb=self.verb, transaction=self.is_transaction, raises=raised)

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

    def _take_over(self, declared: list[inspect.Parameter]) -> Dependant | None:
        """Leave to FastAPI the parameters that are none of path, query, body and session."""
        found = self.dependant
        path, query = (
            {field.name for field in fields} for fields in (found.path_params, found.query_params)
        )
        self.parameters.declare(path, query)
        known = {*path, *query, *(field.name for field in found.body_params)}
        rest = [parameter for parameter in declared if parameter.name not in known]
        if not rest:
            return None
        solver = get_dependant(path=self.path_format, call=_declare(self._work, rest))
        if _needs_session(solver):
            raise TypeError(
                f"{self.name}: take a SessionDep in the handler; a dependency that takes one "
                "is not part of the transaction"
            )
        return solver

    @override
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose path is this operation's."""
        if scope["method"] != self.verb:
            await super().handle(scope, receive, send)
            return
        request = StrictRequest(scope, receive)
        response = await self._answer_to(request)
        await response(scope, receive, send)

    async def _answer_to(self, request: Request) -> Response:
        self._check_query(request)
        await self._check_body(request)
        arguments, faults = self.parameters.read(request)
        if self._body is not None:
            arguments |= await self._body.read(request, faults)
        if self._solver is None:
            return await self._run(request, arguments, faults)
        async with AsyncExitStack() as stack:
            request.scope["fastapi_inner_astack"] = stack
            request.scope["fastapi_function_astack"] = stack
            solved = await solve_dependencies(
                request=request,
                dependant=self._solver,
                dependency_overrides_provider=request.app,
                async_exit_stack=stack,
                embed_body_fields=False,
            )
            return await self._run(request, arguments | solved.values, [*faults, *solved.errors])

    async def _run(
        self, request: Request, arguments: dict[str, Any], faults: list[Any]
    ) -> Response:
        """Run the handler in a thread, which also makes the response."""
        if faults:
            body = await request.json() if await request.body() else None
            raise RequestValidationError(faults, body=body)
        if self._session_name is None:
            return await run_in_threadpool(self._run_alone, request, arguments)
        database = database_of(request)
        return await database.run(self._run_transaction, request, database, arguments)

    def _check_query(self, request: Request) -> None:
        query = request.scope["query_string"]
        if not query:
            return
        try:
            unquote_to_bytes(query).decode()
        except UnicodeDecodeError:
            raise MalformedRequest("The query is not percent-encoded UTF-8") from None
        if self._documented is None:
            self._documented = self._documented_parameters(request)
        faults: list[Fault] = []
        names = [name for name, _ in request.query_params.multi_items()]
        for name in dict.fromkeys(names):
            repeatable = self._documented.get(name)
            if repeatable is None:
                detail = "Unknown parameter; nothing that is sent is ignored"
                faults.append(Fault(parameter=name, code="extra_forbidden", detail=detail))
            elif not repeatable and names.count(name) > 1:
                detail = "This parameter can be given once"
                faults.append(Fault(parameter=name, code="repeated", detail=detail))
        if faults:
            raise ValidationFailed(
                "The query has parameters that this operation does not take", errors=faults
            )

    def _documented_parameters(self, request: Request) -> dict[str, bool]:
        """Read from the OpenAPI document what is accepted, and whether it may be repeated.

        So what is undocumented is refused, and what is documented is taken.
        """
        operation = request.app.openapi()["paths"][self.path_format][self.verb.lower()]
        return {
            parameter["name"]: parameter["schema"].get("type") == "array"
            for parameter in operation.get("parameters", ())
            if parameter["in"] == "query"
        }

    async def _check_body(self, request: Request) -> None:
        headers = request.headers
        media_type = headers.get("content-type")
        if self.writes and media_type is not None:
            # Also without a body: a form or a text is what foreign web pages can send.
            essence = media_type.partition(";")[0].strip().lower()
            accepted = MEDIA_TYPES[self.verb]
            if essence not in accepted:
                raise UnsupportedMediaType(
                    f"Send {' or '.join(accepted)}", headers=_accepted(self.verb)
                )
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise UnsupportedMediaType(
                "Send the body as it is, without Content-Encoding",
                headers={"Accept-Encoding": "identity"},
            )
        body = await request.body()
        if body and self._body is None and body.strip() != b"{}":
            raise invalid("This operation takes no body", code="extra_forbidden", pointer="")
        if body and media_type is None and self._body is not None:
            raise UnsupportedMediaType(
                f"Name the body's Content-Type; send {' or '.join(MEDIA_TYPES[self.verb])}",
                headers=_accepted(self.verb),
            )

    def _run_alone(self, request: Request, arguments: dict[str, Any]) -> Response:
        return self.respond(self._work(**arguments), request, dry_run=False)

    def _run_transaction(
        self, request: Request, database: Database, arguments: dict[str, Any]
    ) -> Response:
        attempt = 1
        while True:
            with database.session(write=self.writes) as session:
                arguments[self._session_name or ""] = session
                transaction = _Transaction(self, request, session)
                try:
                    return transaction.run(functools.partial(self._work, **arguments))
                except NotModified as unchanged:
                    return Response(
                        status_code=HTTPStatus.NOT_MODIFIED,
                        headers={"ETag": unchanged.etag, "Cache-Control": "no-cache"},
                    )
                except SQLAlchemyError as error:
                    if (
                        transaction.committing
                        or attempt == MAX_ATTEMPTS
                        or not is_worth_another_try(error, attempt)
                    ):
                        raise
            time.sleep(random.uniform(0, BACKOFF * 2**attempt))  # noqa: S311 - spreads load
            attempt += 1

    def respond(self, result: object, request: Request, *, dry_run: bool) -> Response:
        """Make the response of what a handler returned."""
        if isinstance(result, Response):
            return result
        status = self.status_code or HTTPStatus.OK
        if self._answer is None:
            return Response(status_code=status)
        version = None
        if isinstance(result, Rows):
            content = result.to_json()
        elif isinstance(result, dict):
            content = to_json(result)
            version = result.get("version")
        elif isinstance(result, Resource) and self._output is not None:
            content = to_json(self._output.of(result))
            version = result.version
        else:
            answer = self._answer.validate_python(result, from_attributes=True)
            content = self._answer.dump_json(answer)
        headers = {}
        if version is not None and not dry_run:
            headers["ETag"] = f'"{version}"'
            headers["Cache-Control"] = "no-cache"
            if status == HTTPStatus.CREATED and isinstance(result, Resource):
                headers["Location"] = f"{request.scope['path']}/{result.id}"
        if isinstance(result, Rows) and result.link is not None:
            headers["Link"] = result.link
        return Response(
            content,
            HTTPStatus.OK if dry_run else status,
            headers=headers,
            media_type="application/json",
        )


@dataclass
class _Transaction:
    """One request's work on the database, from its preconditions to its commit."""

    operation: Operation
    request: Request
    session: Session
    committing: bool = False

    def run(self, work: Callable[[], object]) -> Response:
        """Do the work and commit; an exception leaves nothing behind."""
        request, session = self.request, self.session
        guard(session, Preconditions.of(request))
        if not self.operation.writes:
            return self.operation.respond(work(), request, dry_run=False)
        dry_run = _is_dry_run(request)
        key = idempotency.key_of(request) if self.operation.verb == "POST" else None
        if key is None or dry_run:
            response = self._work(work, dry_run=dry_run)
        else:
            fingerprint = idempotency.fingerprint_of(request, request.scope["state"]["body"])
            kept = idempotency.replay(session, key, fingerprint)
            if kept is not None:
                return kept
            response = self._work(work, dry_run=False)
            idempotency.keep(session, key, fingerprint, response)
        if not dry_run:
            self.committing = True
            session.commit()
        return response

    def _work(self, work: Callable[[], object], *, dry_run: bool) -> Response:
        result = work()
        self.session.flush()
        return self.operation.respond(result, self.request, dry_run=dry_run)


def _is_dry_run(request: Request) -> bool:
    value = request.query_params.get("dry_run", "false")
    if value not in {"true", "false"}:
        raise invalid("Expected true or false", code="bool_text", parameter="dry_run")
    return value == "true"


def _accepted(verb: str) -> dict[str, str]:
    field = "Accept-Patch" if verb == "PATCH" else "Accept"
    return {field: ", ".join(MEDIA_TYPES[verb])}


def _declare(
    endpoint: Callable[..., Any], parameters: list[inspect.Parameter]
) -> Callable[..., Any]:
    """Give a function that FastAPI takes for a handler with only these parameters."""

    @functools.wraps(endpoint)
    def declared(**_: Any) -> None:
        """Stands for the handler; the operation runs it."""

    declared.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # as inspect documents
        [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in parameters],
        return_annotation=inspect.signature(endpoint, eval_str=True).return_annotation,
    )
    return declared


def _session_parameter(signature: inspect.Signature) -> str | None:
    for name, parameter in signature.parameters.items():
        for mark in get_args(parameter.annotation)[1:]:
            if isinstance(mark, Depends) and mark.dependency is get_session:
                return name
    return None


def _needs_session(dependant: Dependant) -> bool:
    return dependant.call is get_session or any(map(_needs_session, dependant.dependencies))


@dataclass
class _Body:
    """The handler's parameter that is the body of the request."""

    name: str
    model: type[Input]

    async def read(self, request: Request, faults: list[Any]) -> dict[str, Any]:
        """Read the body; also add everything that is wrong with it to the faults."""
        if not await request.body():
            faults.append({"type": "missing", "loc": ("body",), "msg": "Field required"})
            return {}
        value = await request.json()
        try:
            return {self.name: self.model.model_validate(value, from_attributes=True)}
        except ValidationError as error:
            faults += [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
            return {}


def _strict_body(operation: Operation) -> _Body | None:
    if operation.body_field is None:
        return None
    body = operation.body_field.field_info.annotation
    if not (isinstance(body, type) and issubclass(body, Input)):
        raise TypeError(
            f"{operation.name}: the body must be one subclass of core.schema.Input, is {body!r}"
        )
    return _Body(operation.body_field.name, body)


def raising(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Declare the problems that an operation raises beyond those that every operation can."""
    return {"problems": problems}  # type: ignore[dict-item] # taken out again by Operation


class Router(APIRouter):
    """A feature's router; every route on it is an ``Operation``.

    With ``any_host`` it answers under every name: probes know an address, and not ALLOWED_HOSTS.
    """

    def __init__(self, prefix: str, *, description: str, any_host: bool = False) -> None:
        super().__init__(prefix=prefix, tags=[prefix.removeprefix("/")], route_class=Operation)
        self.description = description
        self.any_host = any_host
