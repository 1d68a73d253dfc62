"""Filters of a list, each written once: its parameter, type, meaning and SQL."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Exists, and_, false, true

from vibetracker.core.api.schema import marked
from vibetracker.core.api.text import searchable


@dataclass(frozen=True)
class Where:
    """The SQL of a filter, made of its value and of the context that the handler passes."""

    condition: Callable[[Any, Any], ColumnElement[bool]]


def holds(condition: ColumnElement[bool] | Callable[[Any], ColumnElement[bool]]) -> Where:
    """Return the SQL of a flag: the condition is true, or for ``false`` it is not."""

    def where(wanted: bool, context: object) -> ColumnElement[bool]:  # noqa: FBT001 - a parameter's value
        whether = condition(context) if callable(condition) else condition
        if isinstance(whether, Exists):
            # Looked up for each row, as by ``is_found``.
            whether = whether.is_(true())
        return whether if wanted else whether.is_not(true())

    return Where(where)


def occurs(text: str, column: Any) -> ColumnElement[bool]:
    """Return the condition that each term of a text occurs in a column of searchable text."""
    terms = searchable(text).split()
    if text and not terms:
        # What has nothing to search for but marks is in no text.
        return false()
    return and_(true(), *(column.contains(term, autoescape=True) for term in terms))


class Filters(BaseModel):
    """The query parameters that narrow a list down.

    A field annotated with ``Where`` is a filter: one that the request does not use is no
    condition, those that it uses are joined by AND.
    """

    model_config = ConfigDict(frozen=True)

    def conditions(self, context: object = None) -> list[ColumnElement[bool]]:
        """Return the SQL of the filters that are in use."""
        values = vars(self)
        return [
            mark.condition(value, context)
            for name, mark in marked(type(self), Where)
            if (value := values[name]) not in (None, [])
        ]
