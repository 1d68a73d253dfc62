"""Checks every feature against the house rules: what ``vibetracker check`` does."""

import traceback
from collections.abc import Mapping
from pathlib import Path

from vibetracker.core import app as application
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.discovery import (
    Feature,
    FeatureError,
    Source,
    folder_faults,
    load_model,
    load_router,
    loading_order,
    operation_id_faults,
    router_faults,
    sources,
)

from . import code, loaded
from .breach import Breach, Breaches

__all__ = ["Breach", "breaches"]


def breaches() -> list[Breach]:
    """Give every breach, sorted by its place."""
    try:
        found = sources()
    except FeatureError as error:
        return [Breach.of(error, Path())]
    return sorted(set(_breaches(found)))


def _breaches(found: Mapping[str, Source]) -> Breaches:
    yield from code.core_breaches(Path(application.__file__).parent, found)
    readable: dict[str, Source] = {}
    for name, source in found.items():
        try:
            yield from code.breaches_in(source, found)
        except SyntaxError as error:
            path = Path(error.filename or source.folder)
            yield Breach(path, error.lineno or 1, f"this is no Python: {error.msg}", "correct it")
        else:
            readable[name] = source
    yield from _breaches_when_loaded(
        {name: source for name, source in readable.items() if not any(folder_faults(source))}
    )


def _breaches_when_loaded(found: Mapping[str, Source]) -> Breaches:
    try:
        order = loading_order(found)
    except FeatureError as error:
        yield Breach.of(error, found[error.name].folder)
        order = list(found)
    tables: dict[str, tuple[str, ...]] = {}
    features: list[Feature] = []
    for name in order:
        try:
            tables[name] = load_model(found[name], known=[*tables.values()])
            router = load_router(found[name])
        except Exception as error:
            yield _failure(error, found[name])
            continue
        faults = list(router_faults(found[name], router))
        yield from (Breach.of(fault, found[name].folder) for fault in faults)
        if not faults:
            needs = tuple(sorted(found[name].needs(found)))
            features.append(Feature(name, found[name].package, router, tables[name], needs))
    for fault in operation_id_faults(features):
        yield Breach.of(fault, found[fault.name].folder)
    owners = {table: name for name, names in tables.items() for table in names}
    app = create_app(Settings(database_url="sqlite://", _env_file=None), features)
    for feature in features:
        source = found[feature.name]
        yield from loaded.operation_breaches(app, feature, source)
        yield from loaded.table_breaches(feature, source, owners)


def _failure(error: Exception, source: Source) -> Breach:
    """Tell of an error that a feature's code raises when it is loaded, at its last line there."""
    if isinstance(error, FeatureError):
        return Breach.of(error, source.folder)
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if Path(frame.filename).is_relative_to(source.folder)]
    path, line = (Path(places[-1].filename), places[-1].lineno) if places else (source.folder, 1)
    return Breach(path, line or 1, f"it cannot be loaded: {error}", "correct it")
