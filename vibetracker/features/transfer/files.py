"""Public: exports to files and imports from them; the command line finds it by its name."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from vibetracker.core.discovery import Feature, models_of
from vibetracker.core.http.problems import Problem
from vibetracker.features.tasks.model import live

from .collection import collections
from .export import Export, read_snapshot
from .formats import DEFAULT, FORMATS
from .imports import Import

FORMAT_NAMES = tuple(FORMATS)
CHECKED_AND_WRITTEN = 2
"""How often an import reads a file, unless something refers to what is further down."""

type Advance = Callable[[int], None]
"""Told how much more of the work is done."""


class FileError(Exception):
    """A file cannot be imported; the text says where it is broken, a line for each error."""


@dataclass(frozen=True)
class Imported:
    """What became of a file."""

    created: dict[str, int]
    skipped: list[str]


def format_of(path: Path) -> str | None:
    """Return the format that a name stands for by its extension, if it does."""
    extension = path.suffix.removeprefix(".").lower()
    names = [name for name, it in FORMATS.items() if extension == it.EXTENSION]
    return DEFAULT if DEFAULT in names else next(iter(names), None)


def count(session: Session, features: Sequence[Feature]) -> int:
    """Count the rows that an export has; what the session reads from here on is of one moment."""
    read_snapshot(session)
    found = collections(features)
    export = Export(session, found)
    return sum(export.count(name) for name in found)


def left_out(features: Sequence[Feature]) -> list[str]:
    """List the resources that an export does not have, each with what it lacks."""
    found = collections(features)
    return [
        f"{it.__tablename__}: schema.py has no {it.__name__}Create, or no {it.__name__}Read"
        for feature in features
        for it in models_of(feature.package)
        if it.__tablename__ not in found
    ]


def write(
    session: Session, features: Sequence[Feature], name: str, file: BinaryIO, advance: Advance
) -> None:
    """Export everything into a file; ``advance`` counts rows."""
    chosen = FORMATS[name]
    narrowed: list[ColumnElement[bool]] = [live]
    conditions = None if chosen.HAS_TRASH else narrowed
    export = Export(session, collections(features), conditions, advance)
    file.writelines(chosen.write(export))


def read(
    session: Session, features: Sequence[Feature], name: str, file: BinaryIO, advance: Advance
) -> Imported:
    """Import a file in the transaction of a session; raises ``FileError``.

    ``advance`` counts bytes, each of them twice at least.
    """
    importing = Import(session, collections(features))
    counted: Any = _Counted(file, advance)
    try:
        importing.run(lambda: FORMATS[name].read(counted))
    except Problem as problem:
        raise FileError("\n".join(_lines_of(problem))) from None
    skipped = [f"{_where(it)}: {it['detail']}" for it in importing.told.entries()]
    return Imported(importing.created, skipped)


def _lines_of(problem: Problem) -> Iterator[str]:
    if not problem.errors:
        yield str(problem.detail)
    for error in problem.errors:
        yield f"{_where(error)}: {error['detail']}"


def _where(entry: Any) -> str:
    line, pointer = entry.get("line"), entry.get("pointer")
    return ", ".join(filter(None, [f"line {line}" if line else "", pointer]))


class _Counted:
    """A file that counts what is read of it."""

    def __init__(self, file: BinaryIO, advance: Advance) -> None:
        self._file = file
        self._advance = advance

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._advance(len(chunk))
        return chunk

    def readline(self, size: int = -1) -> bytes:
        line = self._file.readline(size)
        self._advance(len(line))
        return line

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)
