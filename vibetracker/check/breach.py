"""What a check finds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vibetracker.core.discovery import FeatureError


@dataclass(frozen=True, order=True)
class Breach:
    """A house rule that is broken: where, which, and what mends it."""

    path: Path
    line: int
    problem: str
    mend: str

    @classmethod
    def of(cls, error: FeatureError, folder: Path) -> "Breach":
        """Tell of what would stop the start."""
        return cls(error.path or folder, error.line, error.problem, error.mend)


type Breaches = Iterator[Breach]
