"""Public: what is in projects, and what becomes of it when one is deleted.

A feature whose rows are in projects adds its ``Contents``. Whoever deletes a project then reaches
them all, without knowing any of those features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Contents:
    """The rows of one feature that are in projects."""

    lock: Callable[[Session], None]
    """Takes what such rows are locked behind; before a project is locked, so that nobody who puts
    rows into it waits in a circle."""
    count: Callable[[Session, int], int]
    """Counts the rows that are in the project with this id, the trash included."""
    counts: Callable[[Session, Sequence[int]], Mapping[int, Mapping[str, int]]]
    """Counts the live rows by the ids of their projects, as the members of ``TaskCounts``, by one
    statement; projects without any are left out."""
    keep: Callable[[Session, int], None]
    """Takes the rows out of the project, and leaves them without one."""
    trash: Callable[[Session, int], None]
    """Takes the rows out of the project, and puts them into the trash."""


CONTENTS: list[Contents] = []
"""Those of all features that have been loaded."""
