"""Query parameters that are declared as one model, read without asking for each that was not sent.

FastAPI looks for every field of such a model, with and without aliases, on every request; a list
with thirty filters would spend more time on that than on its rows.
"""

import inspect
from typing import Annotated, Any, get_args, get_origin

from fastapi.params import Query
from pydantic import BaseModel, ValidationError
from starlette.requests import Request


class QueryModels:
    """The ``Annotated[Model, Query()]`` parameters of a handler."""

    def __init__(self, signature: inspect.Signature) -> None:
        self.models: dict[str, type[BaseModel]] = {}
        for parameter in signature.parameters.values():
            model, *marks = get_args(parameter.annotation) or (None,)
            if (
                get_origin(parameter.annotation) is Annotated
                and isinstance(model, type)
                and issubclass(model, BaseModel)
                and any(isinstance(mark, Query) for mark in marks)
            ):
                self.models[parameter.name] = model
        self.rest = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.name not in self.models
        ]
        """The parameters that are left to FastAPI."""
        self._repeatable = {
            name: get_origin(field.annotation) is list
            for model in self.models.values()
            for name, field in model.model_fields.items()
        }

    def read(self, request: Request) -> tuple[dict[str, BaseModel], list[Any]]:
        """Make the models of what a request sent; also tell everything that is wrong with it."""
        query = request.query_params
        sent = {
            name: query.getlist(name) if self._repeatable[name] else query[name]
            for name in query
            if name in self._repeatable
        }
        arguments: dict[str, BaseModel] = {}
        faults: list[Any] = []
        for name, model in self.models.items():
            try:
                arguments[name] = model.model_validate(sent, context={"request": request})
            except ValidationError as error:
                faults += [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors()]
        return arguments, faults
