"""What files are made of: records of collections, and what is wrong with them or left out."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vibetracker.core.http.faults import Fault, pointer_to
from vibetracker.core.http.problems import MAX_ERRORS, Problem, ValidationFailed

LARGEST_ID = 2**52
"""Ids beyond it would leave too few for what comes."""
MOST_TOLD = 1000
"""Things left out that are told one by one; of more there are only the numbers."""

type Values = dict[str, Any]
"""Values of a record, by the names of its members."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is in a file: its line, the first being 1, and in JSON its pointer."""

    line: int
    pointer: str | None = None
    names: Mapping[str, str] = MappingProxyType({})
    """What the file calls members of records that have another name here."""

    def path(self, *steps: object) -> list[str]:
        """Return the way to a member of what is here, as the file names it."""
        return [self.names.get(str(step), str(step)) for step in steps]

    def of(self, *steps: object) -> "Place":
        """Return the place of a member of what is here; outside of JSON it is the same line."""
        pointer = None if self.pointer is None else self.pointer + pointer_to(*self.path(*steps))
        return Place(self.line, pointer, self.names)


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a file, before anything of it is checked.

    ``id`` among its values, and what refers to that, is a key within the file: what other records
    name it by.
    """

    collection: str
    values: Values
    place: Place
    only_named: bool = False
    """Whether it stands for one of the same name, if there is one, and says nothing else of it."""
    is_foreign: bool = False
    """Whether what is too much of it for this service is left out, and reported."""
    is_extra: bool = False
    """Whether it is left out, and reported, where it is none that can be here."""


@dataclass(frozen=True, slots=True)
class NoRecord:
    """What is where records of a collection are expected, and is none."""

    collection: str
    place: Place


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of a file that has no counterpart here."""

    place: Place
    code: str
    detail: str
    group: tuple[str, ...] = ()
    """Of several with the same group only the first one is told, with their number."""


def broken_file(faults: Sequence[Fault]) -> ValidationFailed:
    """Make the problem of a file with one or several errors."""
    where = f" in line {faults[0]['line']}" if "line" in faults[0] else ""
    more = "" if len(faults) == 1 else "; it is the first of several errors"
    detail = f"{faults[0]['detail']}{where}{more}. Nothing was imported"
    return ValidationFailed(detail, errors=faults[:MAX_ERRORS])


def fault_at(place: Place, code: str, detail: str, *steps: object) -> Fault:
    """Return what is wrong at a place, or at a member of the record there."""
    fault = Fault(line=place.line, code=code, detail=detail)
    if place.pointer is not None:
        fault["pointer"] = place.pointer + pointer_to(*place.path(*steps))
    elif steps:
        fault["detail"] = f"{'.'.join(place.path(*steps))}: {detail}"
    return fault


def faults_at(place: Place, errors: Iterable[Fault]) -> list[Fault]:
    """Return errors of the record at a place as errors of the file."""
    return [
        fault_at(place, error["code"], error["detail"], *error.get("pointer", "").split("/")[1:])
        for error in errors
    ]


def problem_at(place: Place, problem: Problem) -> Problem:
    """Return a problem of the record at a place as one of the file."""
    if isinstance(problem, ValidationFailed):
        return broken_file(faults_at(place, problem.errors))
    problem.detail = f"Line {place.line}: {problem.detail}. Nothing was imported"
    problem.extensions["line"] = place.line
    if place.pointer is not None:
        problem.extensions["pointer"] = place.pointer
    return problem


def broken(place: Place, code: str, detail: str, *steps: object) -> ValidationFailed:
    """Make the problem of a file with one error."""
    return broken_file([fault_at(place, code, detail, *steps)])


@dataclass(frozen=True, slots=True)
class LastIds:
    """The last ids that a service had assigned, by collection; no row may get them again."""

    ids: dict[str, int]


type Found = Record | NoRecord | LeftOut | LastIds
"""What a file is read as."""


class Told:
    """What was left out of an import, as it is reported at its end."""

    def __init__(self) -> None:
        self._first: dict[Hashable, LeftOut] = {}
        self._counts: Counter[Hashable] = Counter()

    def add(self, left_out: LeftOut) -> None:
        """Note what was left out."""
        key: Hashable = (left_out.code, left_out.group or len(self._first))
        if key not in self._first and len(self._first) >= MOST_TOLD:
            key = left_out.code
        self._first.setdefault(key, left_out)
        self._counts[key] += 1

    def entries(self) -> list[Values]:
        """Return the entries of the report."""
        return [self._entry(left_out, self._counts[key]) for key, left_out in self._first.items()]

    def _entry(self, left_out: LeftOut, count: int) -> Values:
        detail = left_out.detail if count == 1 else f"{left_out.detail} ({count} times)"
        place = left_out.place
        where = {"line": place.line} if place.pointer is None else {"pointer": place.pointer}
        return {**where, "code": left_out.code, "detail": detail}
