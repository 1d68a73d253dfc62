"""Fills a database with demo data: each feature's own, by the rules that its requests keep.

A feature that has demo data has a module ``demo`` with a function ``fill``, a ``Fill``.
"""

import gc
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Protocol, TextIO

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Base
from vibetracker.core.discovery import Feature, FeatureError, module_of, sources

from .needs import in_order, owners_of_tables

BAR = 40
"""Columns of the progress bar."""


class Fill(Protocol):
    """Writes the demo rows of one feature."""

    def __call__(
        self, session: Session, random: Random, count: int, now: datetime
    ) -> Iterator[int]:
        """Write at most ``count`` rows in portions, and yield how many each portion had.

        The rows are committed and expunged from the session by then. They depend on the
        arguments alone.
        """
        ...


@dataclass(frozen=True)
class Demo:
    """The demo data that a feature offers."""

    name: str
    fill: Fill
    tables: list[str]


def demos(features: Sequence[Feature]) -> list[Demo]:
    """Find the demo data of the features, each behind those that it needs."""
    by_name = {feature.name: feature for feature in features}
    found = {name: source for name, source in sources().items() if name in by_name}
    order = in_order(found)
    owners = owners_of_tables(map(by_name.__getitem__, order))
    demos = []
    for name in order:
        module = module_of(found[name].package, "demo")
        if module is None:
            continue
        fill = getattr(module, "fill", None)
        if not callable(fill):
            mend = "write `def fill(session, random, count, now)`, which yields row counts"
            raise FeatureError(name, "demo.py has no function `fill`", mend)
        demos.append(Demo(name, fill, [table for table in owners if owners[table] == name]))
    return demos


def tables_with_rows(database: Database, demos: Sequence[Demo]) -> list[str]:
    """Return the tables that have rows already, of the features that have demo data."""
    with database.session(write=False) as session:
        return [
            name
            for demo in demos
            for name in demo.tables
            if session.execute(select(Base.metadata.tables[name]).limit(1)).first() is not None
        ]


def fill(
    database: Database,
    demos: Sequence[Demo],
    *,
    count: int,
    seed: int,
    now: datetime | None = None,
) -> Iterator[str]:
    """Write the demo data of the features, and yield for each a line on what was written.

    The same ``seed`` and ``count`` write the same rows on the same day, the one of ``now`` in UTC.
    """
    # A database begins with it: nobody listens to it as to a change that comes later.
    database.listeners = None
    today = (now or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)
    for demo in demos:
        # By the feature's name too, so that the data of one does not depend on the others.
        random = Random(f"{seed} {demo.name}")  # noqa: S311 - demo data is no secret
        progress = Progress(demo.name, count, sys.stderr)
        with _collecting_by_hand(), database.session(write=True) as session:
            for rows in demo.fill(session, random, count, today):
                session.commit()
                session.expunge_all()
                gc.collect()
                progress.advance(rows)
        yield progress.end(there=0 if progress.done else _rows(database, demo))


def _rows(database: Database, demo: Demo) -> int:
    """Return how many rows the first table of a feature has."""
    if not demo.tables:
        return 0
    table = Base.metadata.tables[demo.tables[0]]
    with database.session(write=False) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@contextmanager
def _collecting_by_hand() -> Iterator[None]:
    """Keep the garbage collector from looking at the rows of a portion again and again."""
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


class Progress:
    """Shows on a terminal how much is done; elsewhere it only counts."""

    def __init__(self, name: str, total: int, stream: TextIO) -> None:
        self.name = name
        self.total = total
        self.stream = stream
        self.done = 0
        self.started = time.perf_counter()

    def advance(self, rows: int) -> None:
        """Count rows, and redraw the bar."""
        self.done += rows
        if self.stream.isatty():
            bar = "#" * min(BAR, BAR * self.done // max(1, self.total))
            line = f"{self.name} [{bar:.<{BAR}}] {self.done}/{self.total}"
            print(f"\r{line}", end="", file=self.stream, flush=True)

    def end(self, there: int = 0) -> str:
        """Clear the bar, and return a line on what was done.

        ``there`` is how many rows were there already, where none was missing.
        """
        seconds = time.perf_counter() - self.started
        if self.stream.isatty():
            print("\r\x1b[K", end="", file=self.stream, flush=True)
        if there:
            return f"{self.name}: {there} there already"
        return f"{self.name}: {self.done} in {seconds:.1f} s, {self.done / seconds:.0f} per second"
