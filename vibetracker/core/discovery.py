"""Finds the features, checks that each is well-formed, and loads their models and routers."""

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy.exc import InvalidRequestError

import vibetracker.features
from vibetracker.core import pages
from vibetracker.core.model import Base
from vibetracker.core.routing import Operation, Router

RESERVED = {"docs", "redoc", pages.router.prefix.removeprefix("/")}
"""Paths of the application itself."""


class FeatureError(Exception):
    """A feature is malformed; the text names its folder, what is wrong, and the mend."""

    def __init__(self, name: str, problem: str, mend: str) -> None:
        super().__init__(f"feature {name!r}: {problem}; {mend}")


@dataclass(frozen=True)
class Feature:
    """A feature that was found and loaded."""

    name: str
    package: str
    router: Router
    tables: tuple[str, ...] = field(default=())

    @property
    def operations(self) -> list[Operation]:
        """Give the feature's operations in the order of their definition."""
        return operations(self.router)


def operations(router: Router) -> list[Operation]:
    """List the operations of a router in the order of their definition."""
    return [route for route in router.routes if isinstance(route, Operation)]


def folders(root: Path) -> list[Path]:
    """List the feature folders, leaving out what is empty but for Python's caches."""
    return sorted(
        folder
        for folder in root.iterdir()
        if folder.is_dir()
        and not folder.name.startswith((".", "_"))
        and any(path.is_file() and "__pycache__" not in path.parts for path in folder.rglob("*"))
    )


def discover(disabled: Iterable[str] = ()) -> list[Feature]:
    """Load every feature: all models first, since a router may use any of them."""
    (root,) = vibetracker.features.__path__
    names = []
    for folder in folders(Path(root)):
        if folder.name not in disabled:
            _check_folder(folder)
            names.append(folder.name)
    return load({name: f"vibetracker.features.{name}" for name in names})


def load(packages: dict[str, str]) -> list[Feature]:
    """Load features by name and package; ``FeatureError`` where one breaks a rule."""
    tables = {name: _load_model(name, package) for name, package in packages.items()}
    features = [
        Feature(name, package, _load_router(name, package), tables[name])
        for name, package in packages.items()
    ]
    _check_operation_ids(features)
    return features


def _check_folder(folder: Path) -> None:
    if not folder.name.isidentifier() or folder.name != folder.name.lower():
        raise FeatureError(
            folder.name, "the name is not a lower-case Python identifier", "rename the folder"
        )
    if folder.name in RESERVED:
        raise FeatureError(
            folder.name, f"/{folder.name} belongs to the application itself", "rename the folder"
        )
    if not (folder / "__init__.py").is_file():
        raise FeatureError(
            folder.name, "there is no __init__.py", "add one that says what the feature is for"
        )


def _load_model(name: str, package: str) -> tuple[str, ...]:
    module = f"{package}.model"
    if find_spec(module) is None:
        return ()
    try:
        importlib.import_module(module)
    except InvalidRequestError as error:
        raise FeatureError(
            name,
            f"its model cannot be mapped ({error})",
            "give its tables names that no other feature has",
        ) from error
    return tuple(
        mapper.local_table.name  # type: ignore[attr-defined] # mapped classes have a Table here
        for mapper in Base.registry.mappers
        if mapper.class_.__module__.startswith(f"{package}.")
    )


def _load_router(name: str, package: str) -> Router:
    if find_spec(f"{package}.router") is None:
        raise FeatureError(name, "there is no router.py", "add one with a `router`")
    module = importlib.import_module(f"{package}.router")
    router = getattr(module, "router", None)
    if not isinstance(router, Router):
        raise FeatureError(
            name,
            "router.py has no `router` made by core.routing.Router",
            f'write `router = Router("/{name}", description="...")`',
        )
    if router.prefix != f"/{name}":
        raise FeatureError(
            name,
            f"the prefix is {router.prefix!r} and not the folder's name",
            f"make it {f'/{name}'!r}",
        )
    for route in router.routes:
        if not isinstance(route, Operation):
            raise FeatureError(
                name,
                f"{getattr(route, 'path', route)!r} is no Operation, so the shared rules miss it",
                "define it with the decorators of the feature's router",
            )
    return router


def _check_operation_ids(features: Sequence[Feature]) -> None:
    owners = {operation.unique_id: "the application" for operation in operations(pages.router)}
    for feature in features:
        for operation in feature.operations:
            if owner := owners.get(operation.unique_id):
                raise FeatureError(
                    feature.name,
                    f"its operation {operation.unique_id!r} exists in {owner} already",
                    "rename the handler",
                )
            owners[operation.unique_id] = f"feature {feature.name!r}"
