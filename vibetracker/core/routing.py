"""The router of every feature: strict input, one transaction per request, one kind of answer."""

import functools
import inspect
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, get_args, override
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from vibetracker.core import idempotency
from vibetracker.core.bodies import StrictRequest
from vibetracker.core.database import SAFE_METHODS, get_session
from vibetracker.core.failures import MAX_ATTEMPTS, is_worth_another_try
from vibetracker.core.model import Resource
from vibetracker.core.openapi import document
from vibetracker.core.paging import Rows
from vibetracker.core.preconditions import NotModified, Preconditions, guard
from vibetracker.core.problems import (
    Fault,
    MalformedRequest,
    Problem,
    UnsupportedMediaType,
    ValidationFailed,
    invalid,
)
from vibetracker.core.query import QueryModels
from vibetracker.core.schema import Input

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
        self._parameters: dict[str, bool] | None = None
        session_name = _session_parameter(endpoint)
        self.is_transaction = session_name is not None
        self.query = QueryModels(inspect.signature(endpoint, eval_str=True))
        endpoint = self._in_one_thread(endpoint, session_name)
        raised = options["responses"].pop("problems", ())
        options["operation_id"] = options.get("operation_id") or endpoint.__name__
        super().__init__(path, endpoint, **options)
        self.accepts_body = self.body_field is not None
        _require_strict_bodies(self)
        if not self.is_transaction and _needs_session(self.dependant):
            raise TypeError(f"{self.name}: take a SessionDep, or nothing commits what it writes")
        self._answer: TypeAdapter[Any] | None = None
        if self.response_model is not None:
            self._answer = TypeAdapter(self.response_model)
        document(self, verb=self.verb, transaction=self.is_transaction, raises=raised)

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Leave a path that is spelled out elsewhere to the operations that spell it out.

        So ``GET /things/search`` is a wrong method where that path has a POST alone, and not a
        malformed id.
        """
        match, child_scope = super().matches(scope)
        if match is not Match.NONE and "{" in self.path_format:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path in scope["app"].openapi()["paths"]:
                return Match.NONE, {}
        return match, child_scope

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            self._check_query(request)
            await self._check_body(request)
            arguments, faults = self.query.read(request)
            request.scope["state"]["query"] = arguments, faults
            try:
                return await handle(request)
            except RequestValidationError as error:
                found = [*faults, *error.errors()]
                raise RequestValidationError(found, body=error.body) from None

        return handle_strictly

    def _check_query(self, request: Request) -> None:
        query = request.scope["query_string"]
        if not query:
            return
        try:
            unquote_to_bytes(query).decode()
        except UnicodeDecodeError:
            raise MalformedRequest("The query is not percent-encoded UTF-8") from None
        if self._parameters is None:
            self._parameters = self._documented_parameters(request)
        faults: list[Fault] = []
        names = [name for name, _ in request.query_params.multi_items()]
        for name in dict.fromkeys(names):
            repeatable = self._parameters.get(name)
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
        if body and not self.accepts_body and body.strip() != b"{}":
            raise invalid("This operation takes no body", code="extra_forbidden", pointer="")
        if body and media_type is None and self.accepts_body:
            raise UnsupportedMediaType(
                f"Name the body's Content-Type; send {' or '.join(MEDIA_TYPES[self.verb])}",
                headers=_accepted(self.verb),
            )

    def _in_one_thread(
        self, endpoint: Callable[..., Any], session_name: str | None
    ) -> Callable[..., Response]:
        """Wrap a handler so that the thread that runs it also makes the response."""

        @functools.wraps(endpoint)
        def run(*, request_: Request, **arguments: Any) -> Response:
            query, faults = request_.scope["state"]["query"]
            if faults:
                raise RequestValidationError([])
            arguments |= query
            if session_name is None:
                return self.respond(endpoint(**arguments), request_, dry_run=False)
            work = functools.partial(endpoint, **arguments)
            return self._run_transaction(work, request_, arguments[session_name])

        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # as inspect documents
            [
                *(p.replace(kind=p.KEYWORD_ONLY) for p in self.query.rest),
                inspect.Parameter("request_", inspect.Parameter.KEYWORD_ONLY, annotation=Request),
            ],
            return_annotation=inspect.signature(endpoint, eval_str=True).return_annotation,
        )
        return run

    def _run_transaction(
        self, work: Callable[[], object], request: Request, session: Session
    ) -> Response:
        transaction = _Transaction(self, request, session)
        attempt = 1
        while True:
            try:
                return transaction.run(work)
            except NotModified as unchanged:
                return Response(
                    status_code=HTTPStatus.NOT_MODIFIED,
                    headers={"ETag": unchanged.etag, "Cache-Control": "no-cache"},
                )
            except SQLAlchemyError as error:
                session.rollback()
                if (
                    transaction.committing
                    or attempt == MAX_ATTEMPTS
                    or not is_worth_another_try(error, attempt)
                ):
                    raise
            finally:
                session.close()
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
        else:
            answer = self._answer.validate_python(result, from_attributes=True)
            content = self._answer.dump_json(answer)
        headers = {}
        if isinstance(result, Resource):
            version = result.version
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


def _session_parameter(endpoint: Callable[..., Any]) -> str | None:
    for name, parameter in inspect.signature(endpoint, eval_str=True).parameters.items():
        for mark in get_args(parameter.annotation)[1:]:
            if isinstance(mark, Depends) and mark.dependency is get_session:
                return name
    return None


def _needs_session(dependant: Dependant) -> bool:
    return dependant.call is get_session or any(map(_needs_session, dependant.dependencies))


def _require_strict_bodies(operation: Operation) -> None:
    if operation.body_field is None:
        return
    body = operation.body_field.field_info.annotation
    if not (isinstance(body, type) and issubclass(body, Input)):
        raise TypeError(
            f"{operation.name}: the body must be one subclass of core.schema.Input, is {body!r}"
        )


def raising(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Declare the problems that an operation raises beyond those that every operation can."""
    return {"problems": problems}  # type: ignore[dict-item] # taken out again by Operation


class Router(APIRouter):
    """A feature's router; every route on it is an ``Operation``."""

    def __init__(self, prefix: str, *, description: str) -> None:
        super().__init__(prefix=prefix, tags=[prefix.removeprefix("/")], route_class=Operation)
        self.description = description

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Look through the feature's operations only for a path that can be one of them."""
        return super().matches(scope) if self.prefix in scope["path"] else (Match.NONE, {})
