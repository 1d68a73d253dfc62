"""Filters of a list, each written once: its parameter, type, meaning and SQL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import chain, count
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    bindparam,
    select,
)
from sqlalchemy.sql.visitors import replacement_traverse

from vibetracker.core.statements import Kept


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
        values = vars(self)
        return [
            mark.condition(value, context)
            for name, mark in self._marks()
            if (value := values[name]) not in (None, [])
        ]

    @classmethod
    @cache
    def _marks(cls) -> list[tuple[str, Where]]:
        return [
            (name, mark)
            for name, field in cls.model_fields.items()
            for mark in field.metadata
            if isinstance(mark, Where)
        ]

    def narrow(self, statement: Select[*tuple[Any, ...]], context: object = None) -> "Narrowed":
        """Narrow a list's statement down."""
        return Narrowed(statement, tuple(self.conditions(context)))


@dataclass(frozen=True)
class Narrowed:
    """A list's statement, and the conditions that its rows meet."""

    statement: Select[*tuple[Any, ...]]
    conditions: tuple[ColumnElement[bool], ...] = ()

    def where(self, *conditions: ColumnElement[bool]) -> "Narrowed":
        """Narrow it down further."""
        return Narrowed(self.statement, (*self.conditions, *conditions))

    def shape(self) -> tuple["Shape", dict[str, Any]]:
        """Tell what requests with other values share, and give the values of this one."""
        # Private, but what SQLAlchemy itself goes by to find the SQL of a statement again.
        keys = [condition._generate_cache_key() for condition in self.conditions]  # noqa: SLF001
        binds = tuple(tuple(key.bindparams) if key else () for key in keys)
        key = tuple(key.key if key else object() for key in keys)
        values = {
            f"value_{n}": bind.effective_value for n, bind in enumerate(chain.from_iterable(binds))
        }
        return Shape(self.statement, key, self.conditions, binds), values


@dataclass(frozen=True)
class Shape:
    """A narrowed statement without its values; shapes are equal that differ in nothing else."""

    statement: Select[*tuple[Any, ...]]
    key: tuple[object, ...]
    conditions: tuple[ColumnElement[bool], ...] = field(compare=False)
    binds: tuple[tuple[BindParameter[Any], ...], ...] = field(compare=False)
    """Where the values of each condition are."""


class Known(ScalarSelect[Any]):
    """A value in a condition that is read before the list, by a statement of its own.

    It has one row at most, and refers to nothing around it. The database then plans for the value
    that it is: for rows that many have to look at them in the order of the list, for rows that few
    have to find them first.
    """

    inherit_cache = True


@dataclass(frozen=True)
class Parametrized:
    """A statement that takes the values of its shape as parameters, and what is known first."""

    statement: Select[*tuple[Any, ...]]
    names: Sequence[str]
    """The parameters for what is known first."""
    known: Kept

    def values(self, connection: Connection, values: Mapping[str, Any]) -> dict[str, Any]:
        """Add what is known first; where there is no such value, it is null."""
        found = self.known.rows(connection, values)[0] if self.names else ()
        return {**values, **dict(zip(self.names, found, strict=True))}


@lru_cache(maxsize=128)
def parametrized(shape: Shape) -> Parametrized:
    """Give the statement of a shape."""
    numbers = count()
    known: dict[str, ScalarSelect[Any]] = {}
    # Condition by condition, since two may have the same value in one place, and not the next time.
    conditions = [
        _with_parameters(
            condition,
            {
                id(bind): bindparam(
                    f"value_{next(numbers)}", type_=bind.type, expanding=bind.expanding
                )
                for bind in binds
            },
            known,
        )
        for condition, binds in zip(shape.conditions, shape.binds, strict=True)
    ]
    return Parametrized(
        shape.statement.where(*conditions), list(known), Kept(select(*known.values()))
    )


def _with_parameters(
    condition: ColumnElement[bool],
    parameters: Mapping[int, BindParameter[Any]],
    known: dict[str, ScalarSelect[Any]],
) -> ColumnElement[bool]:
    def replace(element: object, **_: Any) -> BindParameter[Any] | None:
        if isinstance(element, Known):
            name = f"known_{len(known)}"
            lookup: Any = element.element
            known[name] = replacement_traverse(lookup, {}, replace).scalar_subquery()
            return bindparam(name, type_=element.type)
        return parameters.get(id(element))

    return replacement_traverse(condition, {}, replace)
