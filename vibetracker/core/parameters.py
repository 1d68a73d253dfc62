"""The parameters of a request, read without asking for each that was not sent.

FastAPI declares and documents them. At run time it would look for every one, with and without
aliases, on every request; a list with thirty filters would spend more time on that than on its
rows.
"""

import inspect
from collections.abc import Iterable
from typing import Annotated, Any, get_args, get_origin

from fastapi.params import Query
from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo
from starlette.requests import Request

type Fault = Any
"""One entry of the list that a ``ValidationError`` tells."""


class Parameters:
    """The parameters of a handler that come from the path and the query."""

    def __init__(self, signature: inspect.Signature) -> None:
        self.models: dict[str, type[BaseModel]] = {}
        """Those that are ``Annotated[Model, Query()]``."""
        self.rest: list[inspect.Parameter] = []
        """What is left to FastAPI to declare."""
        for parameter in signature.parameters.values():
            model, *marks = get_args(parameter.annotation) or (None,)
            if (
                get_origin(parameter.annotation) is Annotated
                and isinstance(model, type)
                and issubclass(model, BaseModel)
                and any(isinstance(mark, Query) for mark in marks)
            ):
                self.models[parameter.name] = model
            else:
                self.rest.append(parameter)
        self._path: type[BaseModel] | None = None
        self._query: type[BaseModel] | None = None
        self._defaults: dict[str, Any] | None = None
        """The parameters of a query that sends none of them; None where it has to."""
        self._unsent: dict[str, BaseModel] = {}
        """The models of which nothing was sent, where that is always the same."""
        self._mutable: list[str] = []
        """Defaults of which each request has a copy."""
        self._fields: dict[type[BaseModel], dict[str, FieldInfo]] = {}
        """The fields of the models by the names that they are sent under."""
        self._repeatable: dict[str, bool] = {}

    def declare(self, path: Iterable[str], query: Iterable[str]) -> None:
        """Take over from FastAPI what it found to be in the path and in the query."""
        self._path = self._model(path)
        self._query = self._model(query)
        if self._query and _is_constant(self._query):
            self._defaults = vars(self._query())
            self._mutable = [
                name
                for name, value in self._defaults.items()
                if isinstance(value, list | dict | set)
            ]
        self._unsent = {
            name: model()
            for name, model in self.models.items()
            if model.model_config.get("frozen")
            and model.model_post_init is BaseModel.model_post_init
            and _is_constant(model)
        }
        models = [*self.models.values(), *([self._query] if self._query else [])]
        self._fields = {
            model: {field.alias or name: field for name, field in model.model_fields.items()}
            for model in models
        }
        self._repeatable = {
            name: get_origin(field.annotation) is list
            for fields in self._fields.values()
            for name, field in fields.items()
        }

    def _model(self, names: Iterable[str]) -> type[BaseModel] | None:
        names = set(names)
        fields: dict[str, Any] = {
            parameter.name: (
                parameter.annotation,
                ... if parameter.default is inspect.Parameter.empty else parameter.default,
            )
            for parameter in self.rest
            if parameter.name in names
        }
        return create_model("Parameters", **fields) if fields else None

    def read(self, request: Request) -> tuple[dict[str, Any], list[Fault]]:
        """Read what a request sent; also tell everything that is wrong with it."""
        values: dict[str, Any] = {}
        faults: list[Fault] = []
        context = {"request": request}

        def check(model: type[BaseModel], source: str, sent: dict[str, Any]) -> BaseModel | None:
            try:
                return model.model_validate(sent, context=context)
            except ValidationError as error:
                faults.extend({**fault, "loc": (source, *fault["loc"])} for fault in error.errors())
                return None

        query = request.query_params
        sent = {
            name: query.getlist(name) if self._repeatable[name] else query[name]
            for name in query
            if name in self._repeatable
        }
        if self._path is not None and (found := check(self._path, "path", request.path_params)):
            values |= vars(found)
        for name, model in self.models.items():
            unsent = self._unsent.get(name)
            if unsent is not None and self._fields[model].keys().isdisjoint(sent):
                values[name] = unsent
            else:
                values[name] = check(model, "query", sent)
        if self._query is not None:
            if self._defaults is not None and self._fields[self._query].keys().isdisjoint(sent):
                values |= self._defaults
                values |= {name: self._defaults[name].copy() for name in self._mutable}
            elif found := check(self._query, "query", sent):
                values |= vars(found)
        return values, faults


def _is_constant(model: type[BaseModel]) -> bool:
    """Tell whether the model of a query that sends nothing is always the same."""
    fields = model.model_fields.values()
    return not any(field.is_required() or field.default_factory for field in fields)
