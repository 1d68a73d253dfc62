"""``fields``: the members of an answer that a request names, which alone are read and written.

Every operation has it that answers a GET with a resource, or with a page of them.
"""

from dataclasses import dataclass
from typing import Any, get_args, get_origin

from fastapi import Request
from fastapi.routing import APIRoute
from sqlalchemy import Select
from sqlalchemy.orm import Session

from vibetracker.core.api.schema import Output
from vibetracker.core.http.problems import invalid


@dataclass(frozen=True)
class Fields:
    """The members that are asked for: all of the answer but some."""

    others: frozenset[str]
    """Those that are not. What ``include`` adds is none of them."""
    is_plain: bool
    """Whether members are written as they are read, so that the others need not be."""


def item_of(model: Any) -> Any:
    """Return the type of the items where a model is a page of them, and else None."""
    members = getattr(model, "model_fields", {})
    items = members["items"].annotation if {"items", "next_cursor"} <= members.keys() else None
    return next(iter(get_args(items)), None) if get_origin(items) is list else None


def answer_of(route: APIRoute) -> type[Output] | None:
    """Return the answer for one resource that a route has, or has a page of.

    None where the route itself leaves members out, or writes their names as they are in Python.
    """
    chooses = route.response_model_include or route.response_model_exclude
    if chooses or not route.response_model_by_alias:
        return None
    model = item_of(route.response_model) or route.response_model
    is_resource = isinstance(model, type) and issubclass(model, Output)
    return model if is_resource and {"id", "version"} <= model.model_fields.keys() else None


def _names(answer: type[Output]) -> list[str]:
    """Return the names of the members that an answer always has."""
    return [answer.model_fields[name].serialization_alias or name for name in answer.sources()]


def schema_of(answer: type[Output]) -> dict[str, Any]:
    """Return the schema of the parameter."""
    names = _names(answer)
    name = f"({'|'.join(names)})"
    return {"type": "string", "pattern": f"^{name}(,{name})*$", "examples": [",".join(names[:2])]}


def fields_of(request: Request, answer: type[Output], *, is_plain: bool) -> Fields | None:
    """Read the parameter; raises ``ValidationFailed`` for a name that the answer has not."""
    text = request.query_params.get("fields")
    if text is None:
        return None
    names, known = set(text.split(",")), _names(answer)
    if not names.issubset(known):
        raise invalid(
            f"Expected a comma-separated list of {', '.join(known)}",
            code="fields",
            parameter="fields",
        )
    return Fields(frozenset(known) - names, is_plain)


def narrowed(
    session: Session, statement: Select[*tuple[Any, ...]], *needed: str
) -> Select[*tuple[Any, ...]]:
    """Return the statement without the members that the request does not ask for.

    The id, and what else is ``needed`` to answer, stays.
    """
    fields: Fields | None = session.info.get(Fields)
    if fields is None or not fields.is_plain:
        return statement
    dropped = fields.others - {"id", *needed}
    return statement.with_only_columns(
        *(column for column in statement.selected_columns if column.name not in dropped),
        maintain_column_froms=True,
    )


def pruned(fields: Fields, answer: dict[str, Any], *, is_page: bool) -> dict[str, Any]:
    """Return an answer, or a page of them, without the members that are not asked for."""
    if is_page:
        return {**answer, "items": [pruned(fields, it, is_page=False) for it in answer["items"]]}
    return {name: value for name, value in answer.items() if name not in fields.others}
