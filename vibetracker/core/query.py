"""Query parameters that are declared as one model, read without asking for each that was not sent.

FastAPI looks for every field of such a model, with and without aliases, on every request; a list
with thirty filters would spend more time on that than on its rows.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from fastapi import Depends, Request
from fastapi.params import Query
from pydantic import BaseModel, ValidationError


def replace_models(signature: inspect.Signature) -> tuple[inspect.Signature, list[type[BaseModel]]]:
    """Let a handler's ``Annotated[Model, Query()]`` parameters be read by us.

    Returns the models as well, so that their fields can be documented as parameters.
    """
    models: list[type[BaseModel]] = []
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        model, *marks = get_args(parameter.annotation) or (None,)
        if (
            get_origin(parameter.annotation) is Annotated
            and isinstance(model, type)
            and issubclass(model, BaseModel)
            and any(isinstance(mark, Query) for mark in marks)
        ):
            models.append(model)
            read = Depends(_reader(model))
            parameters.append(parameter.replace(annotation=Annotated[model, read]))
        else:
            parameters.append(parameter)
    return signature.replace(parameters=parameters), models


def faults_in(request: Request) -> list[Any]:
    """Give the list of what was found wrong with the models of a request's query."""
    found: list[Any] = request.scope["state"].setdefault("query_faults", [])
    return found


def _reader[M: BaseModel](model: type[M]) -> Callable[[Request], Any]:
    repeatable = {
        name: get_origin(field.annotation) is list for name, field in model.model_fields.items()
    }

    async def read(request: Request) -> M | None:
        query = request.query_params
        sent = {
            name: query.getlist(name) if repeatable[name] else query[name]
            for name in query
            if name in repeatable
        }
        try:
            return model.model_validate(sent, context={"request": request})
        except ValidationError as error:
            # Told together with what FastAPI finds wrong elsewhere in the request.
            faults_in(request).extend(
                {**fault, "loc": ("query", *fault["loc"])} for fault in error.errors()
            )
            return None

    return read
