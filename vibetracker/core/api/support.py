"""What the shared rules cannot hold for is refused when a route is declared, with the reason."""

import functools
import inspect
from collections.abc import Callable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin
from uuid import UUID

from fastapi import params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, Strict
from pydantic.fields import FieldInfo

from vibetracker.core.api.answers import is_plain
from vibetracker.core.api.fields import answer_of
from vibetracker.core.api.includes import Include
from vibetracker.core.api.parameters import (
    FromQuery,
    dependencies,
    depends_on,
    get_body_file,
    query_models,
    query_names,
)
from vibetracker.core.api.schema import Input
from vibetracker.core.api.session import get_session

FOREIGN_TO_JSON = (
    *(Enum, UUID, Decimal, date, time, timedelta, bytes, PurePath),
    *(set, frozenset, tuple),
)
"""Types of which strict validation takes instances alone, which no JSON is."""
SCHEMA_HOOK = "__get_pydantic_core_schema__"
"""What Pydantic asks a mark for that has a schema of its own, as validators have."""


class UnsupportedError(TypeError):
    """A route is declared in a way that the shared rules cannot hold for; the text says how to."""


def called_by(call: Any) -> Callable[..., Any]:
    """Return the function that is called, also by an object or a partial."""
    call = inspect.unwrap(call)
    while isinstance(call, functools.partial):
        call = call.func
    called: Any = call if inspect.isroutine(call) or inspect.isclass(call) else call.__call__
    return cast("Callable[..., Any]", called)


def has_late_work(dependency: Dependant) -> bool:
    """Return whether a dependency can write after its yield."""
    ends_with_handler = dependency.scope == "function"
    return is_generator(dependency.call) and (
        ends_with_handler or depends_on(dependency, get_session)
    )


def is_generator(call: Any) -> bool:
    """Return whether a function, an object or a partial yields."""
    function = called_by(call)
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def is_async(call: Any) -> bool:
    """Return whether a function, an object or a partial runs on the event loop."""
    return any(
        inspect.iscoroutinefunction(it) or inspect.isasyncgenfunction(it)
        for it in (call, called_by(call))
    )


def refuse_unsupported(route: APIRoute, endpoint: Callable[..., Any], *, writes: bool) -> None:
    """Raise ``UnsupportedError`` for what would be silently wrong."""
    depended_on = list(dependencies(route.dependant))
    for reason in (
        *_of_document(route),
        *_of_handler(route, endpoint, writes=writes),
        *(reason for it in depended_on for reason in _of_dependency(it)),
        *(reason for it in (*depended_on, route.dependant) for reason in _of_models(it)),
        *_of_body(route),
    ):
        raise UnsupportedError(f"{route.name}: {reason}")


def _of_document(route: APIRoute) -> Iterator[str]:
    if not route.include_in_schema:
        yield (
            "what is not documented is refused, so that nobody could send its parameters; leave "
            "include_in_schema out"
        )
    for dependant in (route.dependant, *dependencies(route.dependant)):
        for field in dependant.query_params:
            if not getattr(field.field_info, "include_in_schema", True):
                yield f"{field.alias!r} would be refused as unknown; leave include_in_schema out"
    described = (route.openapi_extra or {}).get("requestBody", {}).get("content")
    takes_body = route.body_field is not None or depends_on(route.dependant, get_body_file)
    if described and not takes_body:
        yield (
            "a body that only openapi_extra describes is refused; take it as an Input, as a "
            "Body(media_type=...) or as a BodyFile"
        )


def _of_handler(route: APIRoute, endpoint: Callable[..., Any], *, writes: bool) -> Iterator[str]:
    if route.methods == {"HEAD"}:
        yield "the GET of its path answers a HEAD; write @router.get"
    shared = "fields" if answer_of(route) else ""
    if writes:
        shared = "dry_run" if depends_on(route.dependant, get_session) else ""
    if shared in query_names(route.dependant):
        yield f"core adds a query parameter {shared!r} to it; give its own another name"
    is_stream = is_generator(endpoint)
    models = query_models(route.dependant)
    if is_stream and models:
        yield "FromQuery cannot refuse before what it yields; use Annotated[..., Query()]"
    if any(issubclass(it, Include) for it in models) and not is_plain(route.response_model):
        yield (
            "include adds to what is written as it is read; take out of the response model what "
            "converts or changes values, or adds to them: float, SecretStr, validators, aliases..."
        )
    if is_stream and writes and depends_on(route.dependant, get_session):
        yield (
            "what it yields is made after the commit; return a StreamingResponse whose content "
            "only reads"
        )
    if is_async(endpoint) and any(it.call is get_session for it in route.dependant.dependencies):
        yield "an async handler with a session holds up every other request; write def"


def _of_dependency(dependency: Dependant) -> Iterator[str]:
    called = called_by(dependency.call)
    is_direct = any(it.call is get_session for it in dependency.dependencies)
    if is_direct and is_async(called):
        yield (
            f"the dependency {called.__qualname__} is async and takes a session, and holds up "
            "every other request; write def"
        )
    if has_late_work(dependency) and dependency.scope != "function":
        yield (
            f"what the dependency {called.__qualname__} does after its yield comes after the "
            'commit; declare it with Depends(..., scope="function")'
        )


def _of_models(dependant: Dependant) -> Iterator[str]:
    """Iterate over what is wrong with the models of a query, a form, header fields or cookies."""
    others = (*dependant.header_params, *dependant.cookie_params, *dependant.body_params)
    infos = [it.field_info for it in others]
    queries: list[Any] = [it.field_info.annotation for it in dependant.query_params]
    called = [dependant.call.model] if isinstance(dependant.call, FromQuery) else []
    texts = [it.annotation for it in infos if isinstance(it, params.Param | params.Form)]
    for model in (*queries, *called, *texts):
        if isinstance(model, type) and issubclass(model, Input):
            yield (
                f"{model.__name__} is an Input, which takes no number and no boolean from a text; "
                "derive it from pydantic.BaseModel"
            )
    for model in queries:
        if getattr(model, "model_config", {}).get("extra") == "forbid":
            yield (
                f'{model.__name__} with extra="forbid" would refuse the parameters of other '
                "models and of core; leave it out: what is unknown is refused anyway"
            )


def _of_body(route: APIRoute) -> Iterator[str]:
    field = None if route.body_field is None else route.body_field.field_info
    if isinstance(field, params.Body) and field.media_type == "application/json":
        model = field.annotation
        if isinstance(model, type) and issubclass(model, Input):
            yield from _of_members(model, set())
        else:
            yield f"the body must be one subclass of core.api.schema.Input, is {model!r}"


def _of_members(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    """Iterate over what is wrong with the members of a body, at any depth."""
    seen.add(model)
    if model.model_config.get("extra") != "forbid":
        yield f"{model.__name__} would ignore members that it does not know; derive it from Input"
    has_validators = model.__pydantic_decorators__.field_validators
    is_strict = model.model_config.get("strict") and not has_validators
    for name, field in model.model_fields.items():
        if is_strict and not _loosens(field) and _is_foreign_to_json(field.annotation):
            yield (
                f"{model.__name__}.{name} is of a type that JSON does not have, and takes nothing; "
                "annotate it with Field(strict=False), or use Timestamp or CalendarDate"
            )
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in seen:
                yield from _of_members(part, seen)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _loosens(mark: object) -> bool:
    """Return whether what stands in ``Annotated`` has its own way to read a value."""
    marks = mark.metadata if isinstance(mark, FieldInfo) else [mark]
    return any(isinstance(it, Strict) or hasattr(it, SCHEMA_HOOK) for it in marks)


def _is_foreign_to_json(annotation: Any) -> bool:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return not any(map(_loosens, parts[1:])) and _is_foreign_to_json(parts[0])
    if origin in {Union, UnionType}:
        return all(_is_foreign_to_json(part) for part in parts if part is not NoneType)
    if origin in {list, dict}:
        return any(map(_is_foreign_to_json, parts))
    type_ = origin or annotation
    return isinstance(type_, type) and issubclass(type_, FOREIGN_TO_JSON)
