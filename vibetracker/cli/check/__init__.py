"""Checks every feature against the house rules: what ``vibetracker check`` does."""

from collections.abc import Iterable, Mapping

from vibetracker.cli import needs
from vibetracker.cli.refusals import fault_in
from vibetracker.core import discovery
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.discovery import Feature, FeatureError, Source

from . import rules
from .rules import Faults


def breaches() -> list[FeatureError]:
    """Return what breaks a rule, each once and sorted by its place."""
    found = discovery.sources()
    readable: dict[str, Source] = {}
    breaches: list[FeatureError] = []
    for name, source in found.items():
        try:
            breaches += rules.breaches_of_code(source, found)
        except SyntaxError as error:
            breaches.append(fault_in(error, found.values()))
        else:
            if not any(discovery.folder_faults(source)):
                readable[name] = source
    breaches += _breaches_when_loaded(readable, found)
    places = {(str(it.path), it.line, it.problem): it for it in breaches}
    return [breach for _, breach in sorted(places.items())]


def _breaches_when_loaded(readable: Mapping[str, Source], found: Mapping[str, Source]) -> Faults:
    try:
        order = needs.in_order(readable)
    except FeatureError as error:
        yield error
        order = list(readable)
    loaded: list[Source] = []
    for source in map(found.__getitem__, order):
        try:
            discovery.load_model(source)
        except Exception as error:
            yield fault_in(error, found.values())
        else:
            loaded.append(source)
    if faults := list(discovery.mapper_faults(loaded)):
        # Whatever uses a model would fail for it.
        yield from faults
        return
    if len(loaded) == len(order):
        # What a model that cannot be loaded leaves behind keeps SQLAlchemy from listing the others.
        yield from (fault for source in loaded for fault in discovery.model_faults(source))
    yield from _breaches_behind_models(loaded, found)


def _breaches_behind_models(loaded: Iterable[Source], found: Mapping[str, Source]) -> Faults:
    features = []
    for source in loaded:
        try:
            additions = discovery.load_additions(source)
            router = discovery.load_router(source)
            discovery.load_listener(source)
        except Exception as error:
            yield fault_in(error, found.values())
            continue
        faults = list(discovery.router_faults(source, router))
        yield from faults
        if not faults:
            features.append(Feature(source.name, source.package, router, additions=additions))
    yield from discovery.operation_id_faults(features)
    yield from discovery.addition_faults(features)
    owners = needs.owners_of_tables(features)
    app = create_app(Settings(database_url="sqlite://", _env_file=None), features)
    for feature in features:
        source = found[feature.name]
        yield from rules.breaches_of_operations(app.openapi(), feature, source)
        yield from rules.breaches_of_tables(source, owners, needs.needs(source, found))
