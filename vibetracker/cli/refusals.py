"""Why a command cannot do its work, in one line for those who can mend it."""

import sys
from collections.abc import Iterable
from inspect import CO_OPTIMIZED
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vibetracker.core.discovery import FeatureError, Source

UNUSABLE = 2
"""The exit status when something that an operator can mend keeps a command from its work."""


class UnusableError(Exception):
    """Something keeps the command from its work; the text says what an operator has to mend."""


def refuse(reason: str) -> int:
    """Print the reason in one line, and return the exit status."""
    print(f"vibetracker: {' '.join(reason.split())}", file=sys.stderr)
    return UNUSABLE


def refusal_of(error: Exception) -> str:
    """Return the reason to end with; raises the error where it is a bug of vibetracker itself."""
    if isinstance(error, UnusableError):
        return str(error)
    from vibetracker.core.discovery import FeatureError, sources

    if isinstance(error, FeatureError):
        return str(error)
    fault = fault_in(error, sources().values())
    return f"feature {fault.name!r}: {from_here(fault.path)}:{fault.line}: {fault.problem}"


def fault_in(error: Exception, found: "Iterable[Source]") -> "FeatureError":
    """Return which feature is at fault for an error of its loading, and where.

    The place is the last statement of a module or a class that was running, not one of a function:
    one feature that calls a function of another wrongly is at fault, one that imports a broken
    module is not. Raises the error where no feature had such a statement.
    """
    from vibetracker.core.api.support import UnsupportedError
    from vibetracker.core.discovery import FeatureError

    if isinstance(error, FeatureError):
        return error
    places = [
        (Path(frame.f_code.co_filename), line)
        for frame, line in walk_tb(error.__traceback__)
        if not frame.f_code.co_flags & CO_OPTIMIZED
    ]
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    problem = " ".join(text.split())
    if not isinstance(error, UnsupportedError):
        problem = f"{type(error).__name__}: {problem}"
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename), error.lineno or 1))
    faults = [
        FeatureError(source.name, problem, "correct it", path=path, line=line)
        for path, line in places
        for source in found
        if path.is_relative_to(source.folder)
    ]
    if not faults:
        raise error
    return faults[-1]


def from_here(path: Path | None) -> Path:
    """Return a path as short as it can be from the current folder, which None stands for."""
    here = Path.cwd()
    path = path or here
    return path.relative_to(here) if path.is_relative_to(here) else path
