"""Reads what modules import from their source, without running them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One import of a module, or of names from it."""

    module: str
    names: tuple[str, ...]
    line: int
    relative: bool = False

    def reaches(self, package: str) -> bool:
        """Return whether the import is of this package or of something in it."""
        targets = (self.module, *(f"{self.module}.{name}" for name in self.names))
        return any(f"{target}.".startswith(f"{package}.") for target in targets)


def imports_of(path: Path, package: str) -> Iterator[Import]:
    """Iterate over the imports of a file, those of type checking and of functions too."""
    for node in ast.walk(ast.parse(path.read_bytes(), path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield Import(module, names, node.lineno, relative=node.level > 0)
