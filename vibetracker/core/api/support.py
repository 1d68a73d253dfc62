"""What the shared rules cannot hold for is refused when a route is declared, with the reason."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, cast

from fastapi import params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from vibetracker.core.api.answers import PARTS, is_plain
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

FOREIGN_TO_JSON = {
    *("date", "time", "datetime", "timedelta", "decimal", "uuid", "enum", "bytes", "is-instance"),
    *("set", "frozenset", "tuple", "dataclass"),
}
"""Types of Pydantic's core schemas of which strict validation takes instances alone."""
INNER = {*PARTS, "strict_schema", "python_schema"}
OBJECTS = {"model", "dataclass", "typed-dict"}
CONVERTING = {"function-before", "function-wrap", "function-plain", "json", "model", "typed-dict"}
"""Those that have a way of their own to read a value."""


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
    if isinstance(field, params.Body) and field.media_type.endswith(("application/json", "+json")):
        model = field.annotation
        if isinstance(model, type) and issubclass(model, Input):
            for part in _objects_in(TypeAdapter(model).core_schema):
                yield from _of_members(part)
        else:
            yield f"the body must be one subclass of core.api.schema.Input, is {model!r}"


def _objects_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Iterate over the schemas of the objects in a core schema of Pydantic, at any depth."""
    if isinstance(schema, dict):
        # A member may be named like a word of such a schema.
        if isinstance(schema.get("cls"), type) and schema.get("type") in OBJECTS:
            yield schema
        schema = [*schema.values()]
    for part in schema if isinstance(schema, list | tuple) else ():
        yield from _objects_in(part)


def _of_members(schema: dict[str, Any]) -> Iterator[str]:
    """Iterate over what is wrong with the members of an object in a body."""
    name, config = schema["cls"].__name__, schema.get("config", {})
    if config.get("extra_fields_behavior") != "forbid":
        yield f"{name} would ignore members that it does not know; derive it from Input"
    inner: Any = schema
    while inner and not isinstance(inner.get("fields"), dict):
        inner = inner.get("schema")
    for member, field in inner["fields"].items() if inner and config.get("strict") else ():
        if _is_foreign_to_json(field):
            yield (
                f"{name}.{member} is of a type that JSON does not have, and takes nothing; "
                "annotate that type, also inside of a list or a union, with Field(strict=False), "
                "or use Timestamp, CalendarDate or, for a dataclass, an Input"
            )


def _is_foreign_to_json(schema: Any) -> bool:
    """Return whether a core schema, or a part of it, takes nothing that JSON has."""
    if isinstance(schema, list):
        return any(map(_is_foreign_to_json, schema))
    kind, is_strict = schema["type"], schema.get("strict", True)
    if kind in FOREIGN_TO_JSON and is_strict:
        return True
    if kind in CONVERTING or (kind == "lax-or-strict" and not is_strict):
        return False
    parts = [schema[key] for key in INNER & schema.keys()]
    choices = [it[0] if isinstance(it, tuple) else it for it in schema.get("choices", ())]
    if kind == "union" and not any(map(_is_text, choices)):
        parts += choices
    return _is_foreign_to_json(parts)


def _is_text(schema: Any) -> bool:
    while "schema" in schema:
        schema = schema["schema"]
    return bool(schema["type"] == "str")
