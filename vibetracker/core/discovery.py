"""Finds the features, checks that each is well-formed, and loads their models and routers."""

import importlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from importlib.util import find_spec
from inspect import getfile, getsourcelines
from keyword import iskeyword
from pathlib import Path
from types import ModuleType
from typing import Any

from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import Integer, event, inspect
from sqlalchemy.exc import InvalidRequestError, SQLAlchemyError
from sqlalchemy.orm import Mapper, configure_mappers

import vibetracker.features
from vibetracker.core.api import problem_types
from vibetracker.core.api.additions import Addition, additions_in, faults
from vibetracker.core.api.routing import Operation, Router
from vibetracker.core.api.schema import Output
from vibetracker.core.api.support import called_by
from vibetracker.core.db.changes import Listener
from vibetracker.core.db.model import Resource, resources

ENTRY_POINTS = vibetracker.features.__name__
"""The group in which a distribution declares its features: ``name = "package"``."""
RESERVED = {"docs", "redoc", problem_types.router.prefix.removeprefix("/")}
"""Paths of the application itself."""


@dataclass(eq=False)
class FeatureError(Exception):
    """A feature is malformed; the text names it, what is wrong, and the mend.

    ``line`` is one of the file ``path``, where there is such a place.
    """

    name: str
    problem: str
    mend: str
    path: Path | None = None
    line: int = 1

    def __str__(self) -> str:
        return f"feature {self.name!r}: {self.problem}; {self.mend}"


def module_of(package: str, module: str) -> ModuleType | None:
    """Import a module of a package; None where it has none of this name."""
    name = f"{package}.{module}"
    return importlib.import_module(name) if find_spec(name) else None


@dataclass(frozen=True)
class Source:
    """Where a feature was found; nothing of it is loaded yet."""

    name: str
    package: str
    folder: Path
    origin: str

    def fault(
        self, problem: str, mend: str, *, file: str = "router.py", line: int = 1
    ) -> FeatureError:
        """Return the error of a rule that one of its files breaks."""
        return FeatureError(self.name, problem, mend, path=self.folder / file, line=line)


@dataclass(frozen=True)
class Feature:
    """A feature that was found and loaded."""

    name: str
    package: str
    router: Router
    additions: tuple[Addition, ...] = ()
    listener: Listener | None = None
    resources: Mapping[type[Resource], type[Output] | None] = field(default_factory=dict)
    """Those that it has, each with the schema of its representation."""

    @property
    def operations(self) -> list[Operation]:
        """The feature's operations in the order of their definition."""
        return operations(self.router)


def operations(router: Router) -> list[Operation]:
    """List the operations of a router in the order of their definition."""
    return [route for route in router.routes if isinstance(route, Operation)]


def _is_feature(folder: Path) -> bool:
    """Return whether a folder has more than what Python caches."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return folder.name[0] not in "._" and any("__pycache__" not in it.parts for it in files)


def sources() -> dict[str, Source]:
    """Find every feature: the folders, and what installed distributions declare."""
    (root,) = map(Path, vibetracker.features.__path__)
    found = {
        folder.name: Source(folder.name, f"{ENTRY_POINTS}.{folder.name}", folder, "folder")
        for folder in root.iterdir()
        if _is_feature(folder)
    }
    for point in entry_points(group=ENTRY_POINTS):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        if point.name in found:
            raise FeatureError(
                point.name,
                f"it comes from {found[point.name].origin} and from {origin}",
                "remove one of them",
            )
        spec = find_spec(point.value)
        if spec is None or not spec.submodule_search_locations:
            raise FeatureError(
                point.name,
                f"{origin} has no package {point.value!r}",
                f"correct its entry point in the group {ENTRY_POINTS}",
            )
        folder = Path(spec.submodule_search_locations[0])
        found[point.name] = Source(point.name, point.value, folder, origin)
    return dict(sorted(found.items()))


def discover(disabled: Iterable[str] = (), only: Collection[str] | None = None) -> list[Feature]:
    """Load every feature that is not disabled, or ``only`` some."""
    found = sources()
    disabled = set(disabled)
    for name in sorted(disabled - found.keys()):
        raise FeatureError(
            name,
            "it is disabled, and there is no such feature",
            f"take it out of DISABLED_FEATURES; there are {', '.join(found)}",
        )
    chosen = found.keys() - disabled if only is None else only
    return load([source for name, source in found.items() if name in chosen])


def load(found: Sequence[Source]) -> list[Feature]:
    """Load features; ``FeatureError`` where one breaks a rule.

    First the models, since a router may use any of them, and what is added to lists.
    """
    for source in found:
        _refuse(folder_faults(source))
    for source in found:
        load_model(source)
        _refuse(model_faults(source))
    _refuse(mapper_faults(found))
    additions = [load_additions(source) for source in found]
    features = []
    for source, added in zip(found, additions, strict=True):
        router = load_router(source)
        _refuse(router_faults(source, router))
        further = added, load_listener(source), load_resources(source)
        features.append(Feature(source.name, source.package, router, *further))
    _refuse(operation_id_faults(features))
    _refuse(addition_faults(features))
    return features


def _refuse(faults: Iterable[FeatureError]) -> None:
    for fault in faults:
        raise fault


def folder_faults(source: Source) -> Iterator[FeatureError]:
    """Iterate over what is wrong with a feature before any of its code is read."""
    name, package = source.name, "__init__.py"
    rename = "rename the folder" if source.origin == "folder" else "rename its entry point"
    if not name.isidentifier() or not name.isascii() or name != name.lower() or iskeyword(name):
        yield source.fault("the name is not a lower-case Python identifier", rename, file=package)
    elif name in RESERVED:
        yield source.fault(f"/{name} belongs to the application itself", rename, file=package)
    if not (source.folder / package).is_file():
        mend = "add one that says what the feature is for"
        yield source.fault("there is no __init__.py", mend, file=package)
    if not (source.folder / "router.py").is_file():
        yield source.fault("there is no router.py", "add one with a `router`")


def load_model(source: Source) -> None:
    """Load a feature's model, if it has one."""
    try:
        module_of(source.package, "model")
    except InvalidRequestError as error:
        problem = f"its model cannot be mapped ({error})"
        is_taken = "is already defined" in str(error)
        mend = "give its tables names that no other feature has" if is_taken else "correct that"
        raise source.fault(problem, mend, file="model.py") from error


def model_faults(source: Source) -> Iterator[FeatureError]:
    """Iterate over the resources that lack what every resource has."""
    for model in models_of(source.package):
        mapper: Any = inspect(model)
        name = model.__name__
        if mapper.inherits is not None or mapper.polymorphic_on is not None:
            problem = f"{name} shares rows with another class, which are read by their table alone"
            mend = "give each its own table and a foreign key, or share columns by a mixin"
        elif mapper.version_id_col is None:
            problem, mend = f"{name} has no version", "add **Resource.__mapper_args__ to its own"
        elif not mapper.local_table.dialect_options["sqlite"]["autoincrement"]:
            problem = f"{name} would use ids again on SQLite"
            mend = "end its __table_args__ with Resource.__table_args__"
        elif not isinstance(mapper.primary_key[0].type, Integer):
            problem = f"the id of {name} is no whole number"
            mend = "leave the id to Resource, and have the other as a column of its own"
        else:
            continue
        yield FeatureError(source.name, problem, mend, *place_of(model))


def mapper_faults(found: Iterable[Source]) -> Iterator[FeatureError]:
    """Configure all mappers, and yield what is wrong with the first that cannot be."""
    begun: list[type] = []

    def note(_: object, model: type) -> None:
        begun.append(model)

    event.listen(Mapper, "before_mapper_configured", note)
    try:
        configure_mappers()
    except SQLAlchemyError as error:
        model = begun[-1]
        module = model.__module__
        owner = next((it.name for it in found if module.startswith(f"{it.package}.")), module)
        problem = f"{model.__name__} cannot be mapped ({error})"
        yield FeatureError(owner, problem, "correct its relationships", *place_of(model))
    finally:
        event.remove(Mapper, "before_mapper_configured", note)


def load_router(source: Source) -> Router:
    """Load a feature's router."""
    router = getattr(module_of(source.package, "router"), "router", None)
    if not isinstance(router, Router):
        problem = "router.py has no `router` made by core.api.routing.Router"
        raise source.fault(problem, f'write `router = Router("/{source.name}", description="...")`')
    return router


def load_listener(source: Source) -> Listener | None:
    """Load a feature's listener, if it has one."""
    module = module_of(source.package, "listener")
    listener: Listener | None = getattr(module, "on_changes", None)
    if module is not None and not callable(listener):
        problem = "listener.py has no function `on_changes`"
        mend = "write `def on_changes(session, changes)`"
        raise source.fault(problem, mend, file="listener.py")
    return listener


def load_resources(source: Source) -> dict[type[Resource], type[Output] | None]:
    """Find a feature's resources; a ``Thing`` is represented by ``ThingRead``, if there is one."""
    schema = module_of(source.package, "schema")
    models = models_of(source.package)
    return {model: getattr(schema, f"{model.__name__}Read", None) for model in models}


def models_of(package: str) -> Iterator[type[Resource]]:
    """Iterate over the resources of a feature's package that are loaded, but those of its tests.

    In the order of their names, since SQLAlchemy has its mappers in a set.
    """
    for model in sorted(resources(), key=lambda model: model.__name__):
        module = model.__module__
        is_own = module.startswith(f"{package}.") and not module.startswith(f"{package}.tests.")
        if is_own:
            yield model


def router_faults(source: Source, router: Router) -> Iterator[FeatureError]:
    """Iterate over what is wrong with a feature's router."""
    if router.prefix != f"/{source.name}":
        problem = f"the prefix is {router.prefix!r} and not the feature's name"
        yield source.fault(problem, f"make it {f'/{source.name}'!r}")
    for context in iter_route_contexts(router.routes):
        route = context.original_route
        if route not in operations(router):
            problem = f"{context.path or route!r} is no Operation of it: shared rules miss it"
            line = place_of(route.endpoint)[1] if isinstance(route, APIRoute) else 1
            yield source.fault(problem, "define it with the feature's router", line=line)


def operation_id_faults(features: Sequence[Feature]) -> Iterator[FeatureError]:
    """Iterate over the operation ids that are taken already."""
    owners = {it.unique_id: "the application" for it in operations(problem_types.router)}
    for feature in features:
        for operation in feature.operations:
            name = operation.unique_id
            if owner := owners.get(name):
                problem = f"its operation {name!r} exists in {owner} already"
                place = place_of(operation.endpoint)
                yield FeatureError(feature.name, problem, "rename the handler", *place)
            owners[name] = f"feature {feature.name!r}"


def load_additions(source: Source) -> tuple[Addition, ...]:
    """Load what a feature adds to the lists of others, if it does."""
    module = module_of(source.package, "additions")
    added = additions_in(module) if module else ()
    if module and not added:
        mend = "derive a class from the Filters or the Includes of a list that is open"
        raise source.fault("its additions.py adds nothing", mend, file="additions.py")
    return added


def addition_faults(features: Sequence[Feature]) -> Iterator[FeatureError]:
    """Iterate over additions to no list, and over those whose name is taken."""
    routes = [operation for feature in features for operation in feature.operations]
    added = {feature.name: feature.additions for feature in features}
    absent = tuple(f"{it.package}." for name, it in sources().items() if name not in added)
    for name, class_, problem, mend in faults(added, routes):
        # What is added to a feature that is disabled is not there, as its lists are not.
        if not class_.__mro__[1].__module__.startswith(absent):
            yield FeatureError(name, problem, mend, *place_of(class_))


def place_of(defined: Callable[..., Any]) -> tuple[Path, int]:
    """Return the file and the line where a handler or a class is defined."""
    defined = called_by(defined)
    return Path(getfile(defined)), getsourcelines(defined)[1]
