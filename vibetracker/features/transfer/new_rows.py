"""The rows that an import writes."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vibetracker.core.api.errors import BROKEN_RULES
from vibetracker.core.db.database import dialect_of
from vibetracker.core.db.failures import code_of
from vibetracker.core.db.model import Resource

from .collection import Collection
from .records import Place, broken


@dataclass(slots=True, eq=False)
class New:
    """A row that is going to be written."""

    row: Resource
    place: Place
    key: Hashable
    tags: list[str]
    only_named: bool
    is_settled: bool = False
    """Whether it is known that no row that is there already stands for it."""


def write(session: Session, rows: Sequence[New]) -> None:
    """Write rows; a problem with the line of one that the database refuses."""
    try:
        with session.begin_nested():
            session.add_all(new.row for new in rows)
    except IntegrityError as error:
        if code_of(error) not in BROKEN_RULES:
            raise
        if len(rows) == 1:
            detail = "The record breaks a rule of the stored data"
            raise broken(rows[0].place, "invalid", detail) from None
        half = len(rows) // 2
        for part in (rows[:half], rows[half:]):
            write(session, part)


class Twins:
    """New rows with a value that no two rows may have, such as a name, and that another has."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.stand_ins: defaultdict[str, set[int]] = defaultdict(set)
        """Ids of rows that were there before and are such a twin, by table."""
        self._known: defaultdict[tuple[str, ...], dict[tuple[Any, ...], int]] = defaultdict(dict)
        """By table and attributes: the values of rows, and their ids."""

    def of(
        self, collection: Collection, rows: Sequence[New], *, look: bool
    ) -> list[tuple[New, int]]:
        """Return those that have such a twin, each with the id of it; ``look`` in the table too."""
        found: dict[New, int] = {}
        for names in collection.unique:
            known = self._known[collection.name, *names]
            if look:
                # Those that this import has written are known already.
                there = self._stored(collection, names, rows)
                self.stand_ins[collection.name].update(
                    row_id for values, row_id in there.items() if values not in known
                )
                known |= there
            for new in rows:
                values = tuple(getattr(new.row, name) for name in names)
                if None in values or new in found:
                    continue
                if values in known:
                    found[new] = known[values]
                else:
                    known[values] = new.row.id
        return list(found.items())

    def _stored(
        self, collection: Collection, names: Sequence[str], rows: Sequence[New]
    ) -> dict[tuple[Any, ...], int]:
        columns = [collection.columns[name] for name in names]
        first = [getattr(new.row, names[0]) for new in rows]
        there = select(*columns, collection.table.c.id).where(columns[0].in_(first))
        stored = self._session.execute(there)
        return {tuple(row[:-1]): row[-1] for row in stored}


def analyze(session: Session, table: Table) -> None:
    """Let PostgreSQL look at a table that grows.

    It checks each reference to a row as is best for a table of the size that it knows, and would
    go on to read all rows of one that was small or empty.
    """
    if dialect_of(session) == "postgresql":
        name = session.connection().dialect.identifier_preparer.format_table(table)
        session.execute(text(f"ANALYZE {name}"))
