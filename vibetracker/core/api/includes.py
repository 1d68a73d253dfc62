"""Members that an answer has only where ``include`` asks for them, each written once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model
from sqlalchemy.orm import Session

from vibetracker.core.api.schema import Members, Output, marked


@dataclass(frozen=True)
class Reads:
    """How a member is read for the resources of a page: by at most one statement.

    ``values`` returns its values by the ids of the resources; one that it leaves out has the value
    ``otherwise``. ``include`` calls the member ``name``, where that is not its own name.
    """

    values: Callable[[Session, Sequence[int]], Mapping[int, Any]]
    otherwise: Any = None
    name: str = ""


class Includes(BaseModel):
    """The members that ``include`` can add to an answer: each with its type and its meaning.

    A field annotated with ``Reads`` is one. Its values are written as they are read.
    """

    answer: ClassVar[type[Output]]
    """The answer that they are added to."""

    @classmethod
    @cache
    def members(cls) -> dict[str, tuple[str, Reads]]:
        """Return by the names that ``include`` has for them the members, and how to read each."""
        return {mark.name or member: (member, mark) for member, mark in marked(cls, Reads)}

    @classmethod
    @cache
    def query(cls) -> type["Include"]:
        """Return the model of the parameter ``include``."""
        said = ", ".join(
            f"`{name}`" if name == member else f"`{name}` (as `{member}`)"
            for name, (member, _) in cls.members().items()
        )
        description = f"Members to add: {said}. The answer then has no `ETag`."
        choice: Any = Literal[*cls.members()]
        asked: Any = (Annotated[list[choice], Field(description=description)], [])
        model: type[Include] = create_model("Include", __base__=Include, include=asked)
        model.members = cls
        return model


class View(Members):
    """The members of an answer that is not the representation of a resource: it has no ``ETag``."""


class Include(BaseModel):
    """The parameter ``include`` of a request."""

    model_config = ConfigDict(frozen=True)

    members: ClassVar[type[Includes]]
    include: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.include)

    def add_to(self, session: Session, rows: Sequence[dict[str, Any]]) -> None:
        """Add the members that are asked for, by one statement each."""
        ids = [row["id"] for row in rows]
        for name in dict.fromkeys(self.include) if ids else ():
            member, reads = self.members.members()[name]
            values = reads.values(session, ids)
            for row in rows:
                row[member] = values.get(row["id"], reads.otherwise)

    def view(self, session: Session, row: dict[str, Any]) -> View:
        """Return the answer for one resource, with the members that are asked for."""
        view = View(row)
        self.add_to(session, [view])
        return view
