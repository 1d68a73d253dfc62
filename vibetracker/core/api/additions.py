"""What features add to the lists of others: filters, and members that ``include`` asks for.

A feature opens its list by reading its ``Filters``, and the ``query`` of its ``Includes``, with
``FromQuery``. Others subclass those in their modules ``additions.py``. Each application reads what
its own features add, whatever else is loaded.
"""

import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, create_model

from vibetracker.core.api.filters import Filters
from vibetracker.core.api.includes import Includes, Reads
from vibetracker.core.api.parameters import query_models, query_names
from vibetracker.core.api.schema import marked

type Addition = type[Filters | Includes]
type Model = type[BaseModel]


def additions_in(module: ModuleType) -> tuple[Addition, ...]:
    """Return the classes of a module ``additions.py``, in their order."""
    return tuple(
        class_
        for class_ in vars(module).values()
        if inspect.isclass(class_)
        and issubclass(class_, (Filters, Includes))
        and class_.__module__ == module.__name__
    )


def extended(additions: Iterable[Addition]) -> dict[Model, Model]:
    """Return for each model of query parameters that something is added to the one with it."""
    by_base: defaultdict[Any, list[Addition]] = defaultdict(list)
    for addition in additions:
        by_base[addition.__base__].append(addition)
    return {
        _read(base): _read(create_model(base.__name__, __base__=(*reversed(added), base)))
        for base, added in by_base.items()
    }


def _read(model: Addition) -> Model:
    """Return the model that the parameters of a request are read by."""
    return model.query() if issubclass(model, Includes) else model


def faults(
    additions: Mapping[str, Sequence[Addition]], routes: Iterable[APIRoute]
) -> Iterator[tuple[str, Addition, str, str]]:
    """Iterate over what is wrong with the additions of features.

    Each fault has the feature, the class, the problem and the mend.
    """
    open_lists: defaultdict[Model, set[str]] = defaultdict(set)
    for route in routes:
        for model in query_models(route.dependant):
            open_lists[model] |= {"fields", *query_names(route.dependant)}
    owners: dict[tuple[Any, str], str] = {}
    for feature, classes in additions.items():
        for class_ in classes:
            base: Any = class_.__base__
            if base in {Filters, Includes} or _read(base) not in open_lists:
                problem = f"its {class_.__name__} adds to no list that is open"
                mend = "derive it from the Filters or Includes of one that is"
                yield feature, class_, problem, mend
                continue
            taken = open_lists[_read(base)]
            if issubclass(base, Includes):
                taken = {*base.answer.model_fields, *base.model_fields, *base.members()}
            for name in _unread(class_):
                problem = f"it does not say how to read {name!r}"
                yield feature, class_, problem, "annotate it with Reads(...)"
            for name in sorted(_names(class_)):
                owner = "the list itself" if name in taken else owners.get((base, name))
                if owner:
                    problem = f"it adds {name!r}, a name that {owner} has already"
                    yield feature, class_, problem, f"give it another name in {class_.__name__}"
                owners.setdefault((base, name), f"feature {feature!r}")


def _names(class_: Addition) -> set[str]:
    """Return the names that are a class's own: of parameters, or of members."""
    own = inspect.get_annotations(class_).keys() & class_.model_fields.keys()
    if issubclass(class_, Includes):
        return own | {name for name, (member, _) in class_.members().items() if member in own}
    return own


def _unread(class_: Addition) -> list[str]:
    """Return the members that ``include`` could never add."""
    members = class_.model_fields if issubclass(class_, Includes) else ()
    return [name for name in members if name not in dict(marked(class_, Reads))]
