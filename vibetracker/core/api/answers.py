"""The response of what a handler returns, with the header fields that follow from it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.encoders import jsonable_encoder
from fastapi.routing import APIRoute
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import TypeAdapter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vibetracker.core.api.fields import Fields, item_of, pruned
from vibetracker.core.api.includes import View
from vibetracker.core.api.paging import Rows
from vibetracker.core.api.preconditions import REVALIDATED
from vibetracker.core.api.schema import Members, Output
from vibetracker.core.db.model import Resource

AS_READ = {
    *("model", "model-fields", "model-field", "definitions", "definition-ref", "default"),
    *("any", "none", "bool", "int", "str", "date", "datetime", "enum", "literal"),
    *("nullable", "union", "list", "dict", "missing-sentinel"),
}
"""The types of Pydantic's core schemas whose values are written as they are read."""
PARTS = {"schema", "items_schema", "keys_schema", "values_schema"}
NEUTRAL = {
    *("type", "ref", "schema_ref", "cls", "config", "metadata", "title", "model_name"),
    *("generic_origin", "custom_init", "root_model", "fields", "computed_fields", "definitions"),
    *("from_attributes", "validate_by_name", "validation_alias", "extra_fields_behavior"),
    *("default", "default_factory", "default_factory_takes_data", "frozen", "strict"),
    *("choices", "expected", "members", "sub_type", "microseconds_precision", *PARTS),
    *("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern"),
}
"""What such a schema may say without a change to the values."""


class Answers:
    """Makes the responses of one route as FastAPI would, and in the thread of the handler.

    What ``read`` and ``paginate`` have read as columns is written as it is, where that is what the
    response model would make of it.
    """

    def __init__(self, route: APIRoute) -> None:
        self._route = route
        model = route.response_model
        self._adapter = TypeAdapter(model) if route.response_field is not None else None
        omitting = {
            "include": route.response_model_include,
            "exclude": route.response_model_exclude,
            "exclude_unset": route.response_model_exclude_unset,
            "exclude_defaults": route.response_model_exclude_defaults,
            "exclude_none": route.response_model_exclude_none,
        }
        self._is_page = item_of(model) is not None
        self._options: dict[str, Any] = {"by_alias": route.response_model_by_alias, **omitting}
        is_plain = self._adapter is not None and _is_plain(self._adapter.core_schema)
        self.is_plain = is_plain and not any(omitting.values())
        """Whether values go out as they are."""
        self.has_etag = has_etag(route)
        self.may_be_unchanged = self.has_etag or model is None
        """Whether a GET compares ``If-None-Match``: also where a handler makes the response."""
        own_class = route.response_class
        self._response_class = own_class if isinstance(own_class, type) else None

    def respond(
        self, result: object, request: Request, injected: Response | None, *, is_dry_run: bool
    ) -> Response:
        """Make the response; ``injected`` has the header fields and the status that others set."""
        if isinstance(result, Response):
            return result
        chosen = (injected and injected.status_code) or self._route.status_code
        status = chosen or HTTPStatus.OK
        fields: Fields | None = getattr(request.state, "fields", None)
        headers = {} if is_dry_run or fields else self._headers(result, request, status)
        if isinstance(result, Rows) and result.link is not None:
            headers["Link"] = result.link
        if not is_body_allowed_for_status_code(status):
            response = Response(status_code=status, headers=headers)
        else:
            response = self._with_body(
                result, HTTPStatus.OK if is_dry_run else chosen, headers, fields
            )
        if injected is not None:
            # What was set by hand stands in place of what follows from the answer.
            for name in {name.lower() for name in headers} & {*injected.headers}:
                del response.headers[name]
            response.headers.raw.extend(injected.headers.raw)
        return response

    def _headers(self, result: Any, request: Request, status: int) -> dict[str, str]:
        if isinstance(result, Resource | Output):
            result = {name: getattr(result, name, None) for name in ("id", "version")}
        version = result.get("version") if isinstance(result, Mapping) else None
        if version is None or isinstance(result, View):
            return {}
        headers = {}
        if self.has_etag:
            headers = {"ETag": f'"{version}"', "Cache-Control": REVALIDATED}
        if status == HTTPStatus.CREATED:
            headers["Location"] = f"{request.scope['path']}/{result.get('id')}"
        return headers

    def _with_body(
        self, result: object, status: int | None, headers: dict[str, str], fields: Fields | None
    ) -> Response:
        if isinstance(result, Rows):
            result = result.members()
        if self._response_class is not None:
            content = self._validated(result, as_json=False)
            # A class of responses has a status of its own.
            own: dict[str, Any] = {} if status is None else {"status_code": status}
            return self._response_class(content, headers=headers, **own)
        if fields is not None:
            is_written_as_it_is = self.is_plain and isinstance(result, Members)
            answer: Any = result if is_written_as_it_is else self._validated(result, as_json=False)
            content = to_json(pruned(fields, answer, is_page=self._is_page))
        elif self.is_plain and isinstance(result, Members):
            content = to_json(result)
        elif self._adapter is None:
            content = JSONResponse(jsonable_encoder(result)).body
        else:
            content = self._validated(result, as_json=True)
        return Response(content, status or HTTPStatus.OK, headers, "application/json")

    def _validated(self, result: object, *, as_json: bool) -> Any:
        if self._adapter is None:
            return result if isinstance(result, str | bytes) else jsonable_encoder(result)
        valid = self._adapter.validate_python(result, from_attributes=True)
        if as_json:
            return self._adapter.dump_json(valid, **self._options)
        return self._adapter.dump_python(valid, mode="json", **self._options)


def has_etag(route: APIRoute) -> bool:
    """Return whether the version of an answer is its ``ETag``, in the document as in the response.

    It is not where other models are in the answer, whose changes it does not count.
    """
    model: Any = route.response_model
    if "version" not in getattr(model, "model_fields", ()):
        return False
    parts = model.model_json_schema(mode="serialization").get("$defs", {})
    return not any("properties" in part for part in parts.values())


def is_plain(model: Any) -> bool:
    """Return whether values go out as they are: nothing converts them, changes or adds to them."""
    return _is_plain(TypeAdapter(model).core_schema)


def _is_plain(schema: Any) -> bool:
    # What is not known may hide a value, as a SecretStr does.
    if not isinstance(schema, dict) or schema["type"] not in AS_READ:
        return False
    extra = {*schema, *schema.get("config", ())} - NEUTRAL
    if extra or schema.get("computed_fields") or schema.get("custom_init"):
        return False
    parts = [schema[key] for key in schema.keys() & PARTS]
    parts += [*schema.get("fields", {}).values(), *schema.get("choices", ())]
    return all(map(_is_plain, (*parts, *schema.get("definitions", ()))))
