"""What a list can be sorted by: its keys, and the ``sort`` parameter that names them."""

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from sqlalchemy import ColumnElement, Enum, Text, type_coerce
from sqlalchemy.orm import InstrumentedAttribute

type SortExpression = InstrumentedAttribute[Any] | ColumnElement[Any]


@dataclass(frozen=True)
class Key:
    """A key to sort by; ``nullable`` ones sort their nulls last in both directions.

    ``expression`` may be a function of the context that the handler passes to ``paginate``.
    ``shared`` says that many rows have the same value, so that paging looks for the rest of them
    by a statement of its own.
    """

    expression: SortExpression | Callable[[Any], SortExpression]
    nullable: bool = False
    shared: bool = False


class Term(NamedTuple):
    """One key of a request's ``sort``, with its direction and the SQL to sort by."""

    spelled: str
    key: Key
    descending: bool
    column: SortExpression

    @property
    def stored(self) -> SortExpression:
        """What a cursor has of it: of an enum the text, which compares with the column as well."""
        is_enum = isinstance(self.column.type, Enum)
        return type_coerce(self.column, Text) if is_enum else self.column


class Sorting:
    """The keys that a list can be sorted by, and a mark for the ``sort`` parameter's ``str``.

    ``id`` is one of them, and breaks ties ascending where the request does not sort by it.
    """

    def __init__(self, default: str, **keys: Key) -> None:
        self.default = default
        self.keys = keys
        self.description = (
            f"Comma-separated keys out of {', '.join(f'`{key}`' for key in keys)}, each once; "
            "`-` in front means descending. Nulls come last in both directions, `id` breaks ties."
        )

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        key = f"-?({'|'.join(self.keys)})"
        return core_schema.no_info_after_validator_function(
            self._check,
            core_schema.str_schema(),
            metadata={
                "pydantic_js_updates": {
                    "pattern": f"^{key}(,{key})*$",
                    "maxLength": sum(len(key) + 2 for key in self.keys),
                }
            },
        )

    def _check(self, sort: str) -> str:
        names = [part.removeprefix("-") for part in sort.split(",")]
        if not set(names) <= self.keys.keys():
            raise PydanticCustomError(
                "sort_key",
                "Expected a comma-separated list of {keys}, each with - in front for descending",
                {"keys": ", ".join(self.keys)},
            )
        if len(set(names)) < len(names):
            raise PydanticCustomError("sort_key_twice", "Each key can be given once")
        return sort

    def terms(self, sort: str, context: object) -> list[Term]:
        """Return the keys of a ``sort`` that decide the order, the last one being ``id``."""
        terms = []
        for part in (*sort.split(","), "id"):
            name = part.removeprefix("-")
            key = self.keys[name]
            column: Any = key.expression
            if isinstance(column, FunctionType):
                column = column(context)
            terms.append(Term(part, key, part != name, column))
            if name == "id":
                break
        return terms
