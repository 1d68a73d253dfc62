"""Strict input: what an operation does not document is refused, and named."""

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from os import SEEK_END
from typing import Annotated, Any, BinaryIO
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Request, params
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, APIKeyQuery
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError
from starlette.datastructures import FormData, ImmutableMultiDict
from starlette.exceptions import HTTPException

from vibetracker.core.api.schema import boolean
from vibetracker.core.http.faults import Fault, pointer_to
from vibetracker.core.http.problems import (
    MalformedRequest,
    UnsupportedMediaType,
    ValidationFailed,
    invalid,
)


class FromQuery[M: BaseModel]:
    """A dependency that reads a model of query parameters: ``Depends(FromQuery(Model))``.

    It means the same as FastAPI's ``Annotated[Model, Query()]``, which looks for every field on
    every request: for thirty filters that takes longer than their rows. What is wrong is collected,
    and refused together with what FastAPI finds. What the features of an application have added to
    the model is read with it.
    """

    def __init__(self, model: type[M]) -> None:
        self.model = model

    async def __call__(self, request: Request) -> M | None:
        """Read the model; None where it breaks a rule, which ``refuse_collected`` reports."""
        model: type[M] = request.app.state.extended.get(self.model, self.model)
        repeatable = _repeatable(model)
        query = request.query_params
        sent = {
            name: query.getlist(name) if repeatable[name] else query[name]
            for name in query
            if name in repeatable
        }
        try:
            return model.model_validate(sent)
        except ValidationError as error:
            request.state.collected = [
                *collected(request),
                *({**fault, "loc": ("query", *fault["loc"])} for fault in error.errors()),
            ]
            return None


@cache
def _repeatable(model: type[BaseModel]) -> dict[str, bool]:
    """Return the names of a model's parameters, and whether each may be repeated."""
    members = model.model_json_schema().get("properties", {})
    return {
        name: any(it.get("type") == "array" for it in (member, *member.get("anyOf", ())))
        for name, member in members.items()
    }


def collected(request: Request) -> list[Any]:
    """Return what is wrong with the models that were read so far."""
    found: list[Any] = getattr(request.state, "collected", [])
    return found


def refuse_collected(request: Request) -> None:
    """Raise ``RequestValidationError`` where a model broke a rule."""
    if found := collected(request):
        request.state.collected = []
        raise RequestValidationError(found)


def dependencies(dependant: Dependant) -> Iterator[Dependant]:
    """Iterate over everything that a dependant depends on, at any depth."""
    for dependency in dependant.dependencies:
        yield dependency
        yield from dependencies(dependency)


def depends_on(dependant: Dependant, function: object) -> bool:
    """Return whether a dependant depends on a function, at any depth."""
    return any(dependency.call is function for dependency in dependencies(dependant))


def query_models(dependant: Dependant) -> list[type[BaseModel]]:
    """List the models that a route reads by ``FromQuery``."""
    calls = (it.call for it in dependencies(dependant))
    return [call.model for call in calls if isinstance(call, FromQuery)]


def query_names(dependant: Dependant) -> set[str]:
    """Return the names of all query parameters of a route."""
    names = {name for model in query_models(dependant) for name in _repeatable(model)}
    for it in (dependant, *dependencies(dependant)):
        names.update(_names(it.query_params))
    return names.union(query_keys(dependant))


def _names(declared: Iterable[Any]) -> Iterator[str]:
    """Iterate over the names of parameters, also of those that a model has."""
    for parameter in declared:
        model: Any = parameter.field_info.annotation
        yield from _repeatable(model) if hasattr(model, "model_fields") else [parameter.alias]


def query_keys(dependant: Dependant) -> list[str]:
    """List the query parameters of security schemes, which are no parameters in the document."""
    calls = (it.call for it in dependencies(dependant))
    return [call.model.name for call in calls if isinstance(call, APIKeyQuery)]


def header_names(dependant: Dependant) -> set[str]:
    """Return the names of the header fields that an operation may depend on."""
    names = {"authorization", "cookie"}
    for it in (dependant, *dependencies(dependant)):
        if isinstance(it.call, APIKeyHeader):
            names.add(it.call.model.name)
        for name in _names(it.header_params):
            # As FastAPI reads it: with hyphens, or as it is where convert_underscores is false.
            names |= {name.replace("_", "-"), name}
    return names


def flag(request: Request, name: str) -> bool:
    """Read a boolean of the query that every operation of a kind has; false when absent."""
    try:
        return bool(boolean(request.query_params.get(name, "false")))
    except PydanticCustomError as error:
        raise invalid(error.message(), code=error.type, parameter=name) from None


def check_query(request: Request, documented: dict[str, bool]) -> None:
    """Refuse parameters that are not documented, or repeated where they may be given once.

    ``documented`` has their names, and whether each may be repeated.
    """
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError:
        raise MalformedRequest("The query is not percent-encoded UTF-8") from None
    if faults := _refused(request.query_params, documented):
        raise ValidationFailed(
            "The query has parameters that this operation does not take",
            errors=[Fault(parameter=name, code=code, detail=why) for name, code, why in faults],
        )


async def check_form(received: Awaitable[FormData], model: Any) -> FormData:
    """Return a form; refuse fields that its model does not have, or that are repeated likewise."""
    try:
        form = await received
    except HTTPException as error:
        raise MalformedRequest(error.detail) from None
    if not hasattr(model, "model_fields") or model.model_config.get("extra") == "allow":
        return form
    if faults := _refused(form, _repeatable(model)):
        await form.close()
        raise ValidationFailed(
            "The form has fields that this operation does not take",
            errors=[
                Fault(pointer=pointer_to(name), code=code, detail=why) for name, code, why in faults
            ],
        )
    return form


def _refused(
    sent: ImmutableMultiDict[str, Any], repeatable: Mapping[str, bool]
) -> list[tuple[str, str, str]]:
    """List the names that are unknown or repeated, each with the code and the words for it."""
    faults = []
    for name in sent:
        if name not in repeatable:
            faults.append((name, "extra_forbidden", "Unknown; nothing that is sent is ignored"))
        elif not repeatable[name] and len(sent.getlist(name)) > 1:
            faults.append((name, "repeated", "This can be given once"))
    return faults


async def get_body_file(request: Request) -> BinaryIO:
    """Return the body as a file; ``ValidationFailed`` where there is none."""
    file: BinaryIO = request.state.file
    if not file.seek(0, SEEK_END):
        raise invalid("Send the file as the body", code="missing", pointer="")
    file.seek(0)
    return file


BodyFile = Annotated[BinaryIO, Depends(get_body_file)]
"""The body as a file, of a media type that the route's ``openapi_extra`` has for it."""


def media_types_of(route: APIRoute, verb: str) -> tuple[str, ...]:
    """Return the media types that a body can have, which follow from what the handler declares."""
    if depends_on(route.dependant, get_body_file):
        return tuple((route.openapi_extra or {})["requestBody"]["content"])
    info = None if route.body_field is None else route.body_field.field_info
    if isinstance(info, params.Form) and not isinstance(info, params.File):
        return ("application/x-www-form-urlencoded", "multipart/form-data")
    declared = getattr(info, "media_type", "application/json")
    if verb == "PATCH" and declared == "application/json":
        return (declared, "application/merge-patch+json")
    return (declared,)


def check_kind(request: Request, verb: str, accepted: Sequence[str], *, is_required: bool) -> None:
    """Refuse a body that is encoded, of another media type, or of none where one ``is_required``.

    Where no type is ``accepted``, any is.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType(
            "Send the body as it is, without Content-Encoding",
            headers={"Accept-Encoding": "identity"},
        )
    media_type = request.headers.get("content-type")
    if not accepted or (media_type is None and not is_required):
        return
    if media_type is None or media_type.partition(";")[0].strip().lower() not in accepted:
        raise UnsupportedMediaType(
            f"Name the Content-Type of the body: {' or '.join(accepted)}",
            headers={"Accept-Patch" if verb == "PATCH" else "Accept": ", ".join(accepted)},
        )
