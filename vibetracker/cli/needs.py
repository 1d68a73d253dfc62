"""Which features need which, read from the imports in their source without running it."""

import ast
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

from sqlalchemy import Table

import vibetracker.features
from vibetracker.core.discovery import Feature, FeatureError, Source


@dataclass(frozen=True)
class Import:
    """One import of a module, or of names from it."""

    path: Path
    line: int
    module: str
    names: tuple[str, ...] = ()

    def reaches(self, package: str) -> bool:
        """Return whether the import is of this package or of something in it."""
        targets = (self.module, *(f"{self.module}.{name}" for name in self.names))
        return any(f"{target}.".startswith(f"{package}.") for target in targets)


def modules_of(source: Source) -> list[Path]:
    """List the files of a feature's code, without those of its tests."""
    files = source.folder.rglob("*.py")
    return sorted(file for file in files if "tests" not in file.relative_to(source.folder).parts)


@cache
def imports_of(source: Source) -> list[Import]:
    """List what the code of a feature imports, for type checking and in functions too."""
    return [found for path in modules_of(source) for found in _imports(path, source.package)]


def _imports(path: Path, package: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_bytes(), path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield Import(path, node.lineno, module, names)


def needs(source: Source, found: Mapping[str, Source]) -> list[str]:
    """Return which of the features the code of one imports."""
    return [
        name
        for name, other in found.items()
        if other is not source and any(it.reaches(other.package) for it in imports_of(source))
    ]


def with_needs(names: Collection[str], found: Mapping[str, Source]) -> set[str]:
    """Return the names of these features and of those that they need, and what those need."""
    chosen: set[str] = set()
    added = set(names)
    while added:
        chosen |= added
        added = {need for name in added for need in needs(found[name], found)} - chosen
    return chosen


def in_order(found: Mapping[str, Source]) -> list[str]:
    """Sort features behind those that they need; ``FeatureError`` where there is a cycle."""
    try:
        graph = {name: needs(source, found) for name, source in found.items()}
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        cycle: list[str] = error.args[1][::-1]
        target = found[cycle[1]].package
        place = next(it for it in imports_of(found[cycle[0]]) if it.reaches(target))
        raise FeatureError(
            cycle[0],
            f"it needs itself: {' -> '.join(cycle)}",
            "let one of them announce what the other one has to know",
            path=place.path,
            line=place.line,
        ) from None


def missing(source: Source, found: Mapping[str, Source]) -> Iterator[FeatureError]:
    """Iterate over the imports of features that are not there."""
    for imported in imports_of(source):
        package, _, rest = imported.module.partition(f"{vibetracker.features.__name__}.")
        name = rest.partition(".")[0]
        if not package and name and name not in found:
            yield FeatureError(
                source.name,
                f"it imports {imported.module}, and there is no feature {name!r}",
                "bring that one back, or remove this one too",
                path=imported.path,
                line=imported.line,
            )


def owners_of_tables(features: Iterable[Feature]) -> dict[str, str]:
    """Return the feature of each table: the first one whose model has it.

    The features stand behind those that they need, whose tables a model may import.
    """
    owners: dict[str, str] = {}
    for feature in features:
        model = sys.modules.get(f"{feature.package}.model")
        for value in vars(model).values() if model else ():
            table = getattr(value, "__table__", value)
            if isinstance(table, Table):
                owners.setdefault(table.name, feature.name)
    return owners
