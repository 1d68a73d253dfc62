"""The rules for a feature's code, which is read and not run."""

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path

from vibetracker.core.discovery import Source, folder_faults, import_faults, with_needs
from vibetracker.core.imports import Import, imports_of

from .breach import Breach, Breaches

DRAWERS = {"common", "constants", "helpers", "misc", "shared", "util", "utils"}
VERBS = {"get", "post", "patch", "delete"}
ENDINGS = {"commit", "rollback"}
MADE_BY_CREATE_APP = {"create_app", "create_engine", "Database", "Settings"}


def breaches_in(source: Source, found: Mapping[str, Source]) -> Breaches:
    """Check one feature."""
    for fault in chain(folder_faults(source), import_faults(source, found)):
        yield Breach.of(fault, source.folder)
    yield from _folder(source)
    for path, imported in source.imports:
        yield from _import(source, found, path, imported)
    for path in source.modules:
        for node in ast.walk(tree_of(path)):
            yield from _statement(path, node)
    yield from _tests(source, found)


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file."""
    return ast.parse(path.read_bytes(), path)


def tests_of(source: Source) -> list[Path]:
    """List the files of a feature's tests."""
    return sorted((source.folder / "tests").rglob("*.py"))


def _folder(source: Source) -> Breaches:
    for path in source.modules:
        if path.stem in DRAWERS:
            problem = f"{path.name} is a drawer for whatever fits nowhere else"
            yield Breach(path, 1, problem, "name the module after what it holds")
        if path.parent != source.folder:
            problem = "a feature has no folder but tests"
            yield Breach(path, 1, problem, "let the module lie beside router.py")
        if path.name.startswith("test_") or path.name in {"factory.py", "conftest.py"}:
            yield Breach(path, 1, "tests lie among the code", "move the file to tests")
    package = source.folder / "__init__.py"
    if package.is_file():
        tree = tree_of(package)
        if len(tree.body) > 1 or not ast.get_docstring(tree):
            problem = "__init__.py is one line that says what the feature is for"
            yield Breach(package, 1, problem, "write that line, and move code to a module")


def _import(source: Source, found: Mapping[str, Source], path: Path, imported: Import) -> Breaches:
    def breach(problem: str, mend: str) -> Breach:
        return Breach(path, imported.line, problem, mend)

    if imported.relative and not f"{imported.module}.".startswith(f"{source.package}."):
        yield breach("a relative import leaves the feature", "import its neighbours absolutely")
    if not imported.relative and imported.reaches(source.package):
        yield breach("the feature imports itself absolutely", "import its own modules relatively")
    if imported.module == "fastapi" or imported.module.startswith("starlette"):
        if "HTTPException" in imported.names:
            yield breach("an HTTPException has no documented type", "raise a core.problems.Problem")
        return
    inside = imported.module.removeprefix("vibetracker.").partition(".")[0]
    if imported.module.startswith("vibetracker.") and inside not in {"core", "features"}:
        yield breach(f"a feature builds on core, not on vibetracker.{inside}", "leave it out")
    for other in found.values():
        if other is not source and imported.reaches(other.package):
            yield from _neighbour(other, imported, breach)


def _neighbour(other: Source, imported: Import, breach: Callable[[str, str], Breach]) -> Breaches:
    """Check an import of another feature: what it has and says is public."""
    modules = (
        [imported.module]
        if imported.module != other.package
        else [f"{other.package}.{name}" for name in imported.names]
    )
    for module in modules:
        name = module.removeprefix(f"{other.package}.").partition(".")[0]
        path = other.folder / f"{name}.py"
        if name == "router":
            problem = f"the router of {other.name} is its own"
            yield breach(problem, "import its model or its schema, or ask it to offer more")
        elif name == "tests":
            yield breach(f"code imports the tests of {other.name}", "only tests may do so")
        elif name not in {"model", "schema"} and path.is_file() and not _is_public(path):
            problem = f"{other.name} does not say that its module {name} is public"
            yield breach(problem, f'begin its docstring with "Public:", in {path.name}')
    for name in imported.names:
        if name.startswith("_"):
            yield breach(f"{name} is private to {other.name}", "use what it offers")


def _is_public(path: Path) -> bool:
    return (ast.get_docstring(tree_of(path)) or "").startswith("Public:")


def _statement(path: Path, node: ast.AST) -> Breaches:
    if isinstance(node, ast.AsyncFunctionDef) and any(map(_is_route, node.decorator_list)):
        problem = f"{node.name} is async, and would hold up every other request"
        yield Breach(path, node.lineno, problem, "write def: handlers run in threads")
    if not isinstance(node, ast.Call):
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name in ENDINGS and not node.args:
        problem = f"{name}() ends the transaction before its response is made"
        yield Breach(path, node.lineno, problem, "leave it out: the operation commits")
    if any(keyword.arg == "backref" for keyword in node.keywords):
        problem = "a backref puts an attribute on another class unseen"
        yield Breach(path, node.lineno, problem, "write both sides with back_populates, or none")
    called = node.func.id if isinstance(node.func, ast.Name) else name
    if called in MADE_BY_CREATE_APP:
        problem = f"{called}() belongs to the application"
        yield Breach(path, node.lineno, problem, "take what the handler is given")


def _is_route(decorator: ast.expr) -> bool:
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr in VERBS
    )


def _tests(source: Source, found: Mapping[str, Source]) -> Breaches:
    tests = source.folder / "tests"
    if not tests.is_dir() and source.origin != "folder":
        return  # a wheel leaves them out
    if not list(tests.glob("test_*.py")):
        problem = "the feature has no tests"
        yield Breach(tests / f"test_{source.name}.py", 1, problem, "write one for each operation")
    if (source.folder / "model.py").is_file() and not (tests / "factory.py").is_file():
        mend = "write one, so that tests and other features can have rows"
        yield Breach(tests / "factory.py", 1, "there is no factory for the model", mend)
    needed = with_needs([source.name], found)
    for path in tests_of(source):
        for imported in imports_of(path, f"{source.package}.tests"):
            for other in found.values():
                if other.name not in needed and imported.reaches(other.package):
                    problem = f"tests use {other.name}, which the feature does not need"
                    yield Breach(
                        path, imported.line, problem, "move what spans features to the tests of all"
                    )


def core_breaches(core: Path, found: Mapping[str, Source]) -> Breaches:
    """Check that the core knows no feature."""
    for path in sorted(core.rglob("*.py")):
        for imported in imports_of(path, "vibetracker.core"):
            for source in found.values():
                if imported.reaches(source.package):
                    problem = f"the core imports the feature {source.name}"
                    yield Breach(
                        path, imported.line, problem, "let the core offer what the feature fills in"
                    )


def requests_in(path: Path) -> Iterator[tuple[str, str]]:
    """Give the requests that a test file spells out: method and path, with NUL where it varies."""
    tree = tree_of(path)
    texts = {
        target.id: text
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and (text := _text(node.value, {}))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            verb = ast.Constant(node.func.attr.upper()) if node.func.attr in VERBS else None
            parts = [verb, *node.args] if verb else node.args
        elif isinstance(node, ast.Tuple | ast.List):
            parts = node.elts
        given = [_text(part, texts) for part in parts]
        methods = [text for text in given if text.lower() in VERBS and text.isupper()]
        paths = [text.partition("?")[0] for text in given if text.startswith("/")]
        if methods and paths:
            yield methods[0], paths[0]


def _text(node: ast.expr, texts: Mapping[str, str]) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, texts)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, texts) or "\0" for part in node.values)
    return texts.get(node.id, "") if isinstance(node, ast.Name) else ""
