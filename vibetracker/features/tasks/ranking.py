"""Public: ranks: short strings whose order is the order that tasks were put in by hand.

A rank is a hexadecimal number: twelve digits before an unwritten point, and more behind it only
where a gap between neighbours has been split often. So one row is written per move, and a rank
that would become too long says that the next siblings need to be spread anew.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any
from zlib import crc32

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from vibetracker.core.db.types import OrderedText

WHOLE = 12
FIRST = 16 ** (WHOLE - 1) * 8
LAST = 16 ** (WHOLE - 1) * 15
STEP = 16**4
LONGEST = 100
SPREAD = LONGEST // 4
"""Digits of ranks that are spread anew at most: the others are left for hundreds of tasks more."""
RANK = rf"^[1-9a-e][0-9a-f]{{{WHOLE - 1}}}([0-9a-f]{{0,{LONGEST - WHOLE - 1}}}[1-9a-f])?$"
"""A rank that leaves room on both sides."""


def between(before: str | None, after: str | None) -> str | None:
    """Return a rank between two neighbours; None stands for the end of the list on that side.

    None when there is no room for one of at most ``LONGEST`` digits.
    """
    if after is None:
        return behind(before)
    if before is None:
        return _write(int(after[:WHOLE], 16) - STEP, WHOLE)
    digits = max(len(before), len(after))
    low, high = (int(rank.ljust(digits, "0"), 16) for rank in (before, after))
    if high <= low:
        return None
    if high - low == 1:
        digits, low, high = digits + 1, low * 16, high * 16
    if digits > LONGEST:
        return None
    return _write((low + high) // 2, digits)


def behind(last: str | None, further: int = 0) -> str:
    """Return a rank behind the last one, or the first of all, and so much further behind."""
    return _write((FIRST if last is None else int(last[:WHOLE], 16) + STEP) + further, WHOLE)


def further(title: str) -> int:
    """Return how much further behind the last one a task with this title is put.

    So tasks that are created at once, each behind the same one, have ranks of their own; and a dry
    run has the rank that the task would get.
    """
    return crc32(title.encode()) % STEP


def spread(before: str, following: Iterable[str]) -> list[str]:
    """Return ranks behind one: a new one, and those of as few of the following as make room."""
    count = 1
    for after in following:
        for digits in range(WHOLE, SPREAD + 1):
            low, high = (int(rank[:digits].ljust(digits, "0"), 16) for rank in (before, after))
            # The more are spread, the more room each has, so that this is seldom needed again.
            if high - low > count**2:
                places = range(1, count + 1)
                return [_write(low + (high - low) * it // (count + 1), digits) for it in places]
        count += 1
    return [behind(before, it * STEP) for it in range(count)]


def shifted(rank: str, first: str, behind: str) -> str | None:
    """Return a rank of a list that begins with ``first``, for the same list behind another one.

    None when there is no room for it.
    """
    offset = int(behind[:WHOLE], 16) + STEP - int(first[:WHOLE], 16)
    number = int(rank[:WHOLE], 16) + offset
    return _write(number, WHOLE) + rank[WHOLE:] if number < LAST else None


def _write(number: int, digits: int) -> str:
    rank = f"{number:0{digits}x}"
    return rank[:WHOLE] + rank[WHOLE:].rstrip("0")


class RankBehind(GenericFunction[str]):
    """SQL for what ``behind`` returns."""

    type = OrderedText
    inherit_cache = True


@compiles(RankBehind, "postgresql")
def _on_postgresql(element: RankBehind, compiler: SQLCompiler, **options: Any) -> str:
    last, further = (compiler.process(clause, **options) for clause in element.clauses)
    number = f"(('x' || lpad(left({last}, {WHOLE}), 16, '0'))::bit(64)::bigint)"
    return f"lpad(to_hex(coalesce({number} + {STEP}, {FIRST}) + {further}), {WHOLE}, '0')"


@compiles(RankBehind, "sqlite")
def _on_sqlite(element: RankBehind, compiler: SQLCompiler, **options: Any) -> str:
    return f"rank_behind({compiler.process(element.clauses, **options)})"


@event.listens_for(Engine, "connect")
def _teach_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.create_function("rank_behind", 2, behind, deterministic=True)
