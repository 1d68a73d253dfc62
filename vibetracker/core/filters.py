"""Filters of a list, each written once: its parameter, type, meaning and SQL."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Select


@dataclass(frozen=True)
class Where:
    """The SQL of a filter, made of its value and of the context that the handler gives."""

    condition: Callable[[Any, Any], ColumnElement[bool]]


class Filters(BaseModel):
    """The query parameters that narrow a list down.

    A field annotated with ``Where`` is a filter: one that the request does not use is no
    condition, those that it uses are joined by AND.
    """

    model_config = ConfigDict(frozen=True)

    def conditions(self, context: object = None) -> list[ColumnElement[bool]]:
        """Give the SQL of the filters that are in use."""
        return [
            mark.condition(value, context)
            for name, field in type(self).model_fields.items()
            for mark in field.metadata
            if isinstance(mark, Where) and (value := getattr(self, name)) not in (None, [])
        ]

    def narrow(
        self, statement: Select[*tuple[Any, ...]], context: object = None
    ) -> Select[*tuple[Any, ...]]:
        """Narrow a list's statement down."""
        return _narrowed(statement, tuple(self.conditions(context)))


@lru_cache(maxsize=128)
def _narrowed(
    statement: Select[*tuple[Any, ...]], conditions: tuple[ColumnElement[bool], ...]
) -> Select[*tuple[Any, ...]]:
    """Give the same statement for the same conditions, as those without a value are."""
    return statement.where(*conditions) if conditions else statement
