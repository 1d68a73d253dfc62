"""The types that fields can have, and the code that each becomes."""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from string import Template
from typing import Annotated, Any

from factory.base import Factory
from pydantic import TypeAdapter, ValidationError

from vibetracker.core.discovery import Feature
from vibetracker.core.filters import Filters
from vibetracker.core.model import Base, Resource
from vibetracker.core.paging import PageRequest
from vibetracker.core.schema import MAX_ID, Line, Output, Patch, Prose

from .names import NAME, Names, RefusedError, camel, capital, check, one, snake, taken, words

SPEC = re.compile(
    r"(?P<name>[^:]*):(?P<kind>\w+)(?:\((?P<limits>[^()]*)\))?(?P<optional>\?)?(?:=(?P<default>.*))?",
    re.DOTALL,
)
UNTYPED = "# type: ignore[no-untyped-call] # factory-boy is untyped"
OFFERED = "field.toml"
"""The file in which a feature offers a type of its own; its keys are those of ``Field``."""


@dataclass(frozen=True)
class Spec:
    """A field as it was asked for: ``name:kind(limits)?=default``."""

    name: str
    kind: str
    limits: str | None
    optional: bool
    default: str | None

    @classmethod
    def of(cls, text: str) -> "Spec":
        """Read a field as it is written on the command line."""
        found = SPEC.fullmatch(text)
        if found is None:
            raise RefusedError(f"the field {text!r}: write name:type, as in title:str(1..200)")
        spec = cls(
            found["name"], found["kind"], found["limits"], bool(found["optional"]), found["default"]
        )
        if spec.optional and spec.default is not None:
            raise spec.refused("it has either a default or ?, which makes null its default")
        return spec

    def refused(self, reason: str) -> RefusedError:
        """Make the error that refuses this field."""
        return RefusedError(f"the field {self.name!r}: {reason}")

    def takes_no(self, *what: str) -> None:
        """Refuse what was given and means nothing for this type."""
        given = {
            "limits": self.limits is not None,
            "default": self.default is not None,
            "?": self.optional,
        }
        for name in what:
            if given[name]:
                raise self.refused(f"the type {self.kind} takes no {name}")


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A query parameter of the list."""

    type: str
    where: str
    description: str
    default: str = "None"
    finds: str = ""
    """A query that finds a row with the sample; ``misses`` is one that does not."""
    misses: str = ""


@dataclass(frozen=True, kw_only=True)
class Field:
    """The code that a field becomes, by the place where it stands."""

    name: str
    column: str
    create: str
    update: str
    read: str
    sample: str
    changed: str
    absent: str | None = None
    """What is answered where it was not given; None where it has to be."""
    broken: Iterable[tuple[str, str, str]] = ()
    """Values that break a rule, with the pointer to it and its code."""
    definition: str = ""
    """Stands in front of the model."""
    type: str = ""
    """Stands in front of the schemas."""
    key: str = ""
    """What to sort by, if it can be sorted by."""
    filters: Mapping[str, Filter] = field(default_factory=dict)
    indexed: bool = False
    required: str = ""
    """How the factory makes it, if it has to."""
    imports: Mapping[str, str] = field(default_factory=dict)
    stored: bool = True
    """Whether the value of the column is the one that is given."""
    before_create: str = ""
    after_create: str = ""
    before_update: str = ""
    after_update: str = ""
    test: str = ""


BASES = (Resource, Patch, Output, Filters, Factory)
"""The classes that a field becomes an attribute of."""
ANNOTATIONS = {"bool", "date", "datetime", "float", "int", "list", "str"}
"""Types that an attribute of the same name would hide from those after it."""
PARAMETERS = {*PageRequest.model_fields, "sort", "dry_run"}

type Kind = Callable[[Spec, Names], Field]


def _make(
    spec: Spec,
    *,
    python: str,
    given: str,
    sample: str,
    changed: str,
    column: Iterable[str] = (),
    default: tuple[str, str] | None = None,
    required: str | None = None,
    sortable: bool = True,
    model: str,
    **rest: Any,
) -> Field:
    """Put together what all plain columns have in common.

    ``default`` is the one of Python and the one of JSON.
    """
    hint = f"{python} | None" if spec.optional and default is None else python
    arguments = ", ".join([*column, *([f"default={default[0]}"] if default else [])])
    create, update = given, f"{given} | MISSING = MISSING"
    if default:
        create = f"{given} = {default[0]}"
    elif spec.optional:
        create, update = f"{given} | None = None", f"{given} | MISSING | None = MISSING"
    is_required = default is None and not spec.optional
    absent = default[1] if default else "None"
    key = f"{model}.{spec.name}{', nullable=True' if hint != python else ''}"
    return Field(
        name=spec.name,
        column=f"{spec.name}: Mapped[{hint}]"
        + (f" = mapped_column({arguments})" if arguments else ""),
        create=create,
        update=update,
        read=hint,
        sample=sample,
        changed=changed,
        absent=None if is_required else absent,
        required=f"{spec.name} = {required or sample}" if is_required else "",
        key=key if sortable else "",
        **rest,
    )


def _alias(spec: Spec, names: Names) -> str:
    """Name the type of a field in the schemas."""
    name = camel(spec.name)
    return f"{name}Value" if name in taken() or name.startswith(names.model) else name


def _limits[N: (int, float)](
    spec: Spec, read: Callable[[str], N], low: N | None, high: N | None
) -> tuple[N | None, N | None]:
    """Read ``low..high``, either of which may be left out; without any, these hold."""
    if spec.limits is None:
        return low, high
    lowest, dots, highest = spec.limits.partition("..")
    try:
        low = read(lowest) if lowest else low
        high = read(highest) if highest else high
    except ValueError:
        dots = ""
    if not dots:
        raise spec.refused(f"its limits {spec.limits!r} are not written as low..high, as in 1..5")
    if low is not None and high is not None and low > high:
        raise spec.refused(f"its limits {spec.limits!r} are the wrong way round")
    return low, high


def _text_default(spec: Spec, mark: Line | Prose) -> tuple[str, str] | None:
    if spec.default is None:
        return None
    try:
        kept = TypeAdapter(Annotated[str, mark]).validate_python(spec.default)
    except ValidationError as error:
        raise spec.refused(f"its default: {error.errors()[0]['msg']}") from None
    return repr(kept), repr(kept)


def _example(words: str, letter: str, low: int, high: int) -> str:
    if low <= len(words) <= high:
        return repr(words)
    length = max(low, 1)
    return repr(letter * length) if length < 10 else f'"{letter}" * {length}'


def _str(spec: Spec, names: Names) -> Field:
    low, high = _limits(spec, int, 1, 200)
    if low is None or high is None or not 0 <= low <= max(high, 1) <= 10_000:
        raise spec.refused("a str has at most 10000 characters; text is for more")
    alias = _alias(spec, names)
    mark = f"Line({high:_})" if low == 1 else f"Line({high:_}, min_length={low})"
    sequence = f'Sequence(lambda n: f"{words(spec.name)} {{n}}")'
    has_room = low == 1 and high >= 40
    return _make(
        spec,
        python="str",
        given=alias,
        column=["OrderedText"],
        default=_text_default(spec, Line(high, low)),
        sample=_example(one(spec.name), "a", low, high),
        changed=_example(f"another {words(spec.name)}", "b", low, high),
        broken=[
            (f'"x" * {high + 1:_}', f"/{spec.name}", "string_too_long"),
            ('"a\\nb"', f"/{spec.name}", "text_control_character"),
        ],
        type=f"{alias} = Annotated[str, {mark}]",
        required=f"{sequence}  {UNTYPED}" if has_room else None,
        model=names.model,
    )


def _text(spec: Spec, names: Names) -> Field:
    low, high = _limits(spec, int, 0, 10_000)
    if low != 0 or high is None or not 1 <= high <= 1_000_000:
        raise spec.refused("a text may be empty, and has at most 1000000 characters")
    alias = _alias(spec, names)
    default = _text_default(spec, Prose(high))
    # Empty is what a text is without one: null would say the same in another way.
    default = ('""', '""') if spec.optional else default
    return _make(
        spec,
        python="str",
        given=alias,
        default=default,
        sample=_example(f"{capital(one(spec.name))}\n\nof two parts", "a", 0, high),
        changed=_example(f"Another {words(spec.name)}", "b", 0, high),
        broken=[
            (f'"x" * {high + 1:_}', f"/{spec.name}", "string_too_long"),
            ("None", f"/{spec.name}", "string_type"),
        ],
        type=f"{alias} = Annotated[str, Prose({high:_})]",
        sortable=False,
        model=names.model,
    )


def _number[N: (int, float)](
    spec: Spec, read: Callable[[str], N], low: N | None, high: N | None
) -> tuple[tuple[str, str] | None, N, N]:
    """Give the default of a number, and two examples."""
    if low is not None and low == high:
        raise spec.refused(f"its limits {spec.limits!r} leave no choice")
    step = read("1")
    first = low if low is not None else step if high is None else min(step, high)
    second = first + step if high is None or first + step <= high else first - step
    if low is not None and second < low:
        second = high if high is not None and high != first else first
    default = None
    if spec.default is not None:
        try:
            value = read(spec.default)
        except ValueError:
            raise spec.refused(f"its default {spec.default!r} is no number") from None
        if (low is not None and value < low) or (high is not None and value > high):
            raise spec.refused(f"its default {spec.default!r} is outside of its limits")
        default = (repr(value), repr(value))
    return default, first, second


def _int(spec: Spec, names: Names) -> Field:
    low, high = _limits(spec, int, -MAX_ID, MAX_ID)
    if low is None or high is None or low < -MAX_ID or high > MAX_ID:
        raise spec.refused(f"its limits lie outside of -{MAX_ID}..{MAX_ID}")
    alias = _alias(spec, names)
    default, first, second = _number(spec, int, None if low == -MAX_ID else low, high)
    bounds = f"ge={_bound(low)}, le={_bound(high)}"
    return _make(
        spec,
        python="int",
        given=alias,
        column=["BigInt"],
        default=default,
        sample=repr(first),
        changed=repr(second),
        broken=[
            (repr(high + 1), f"/{spec.name}", "less_than_equal"),
            (repr(str(first)), f"/{spec.name}", "int_type"),
        ],
        type=f"{alias} = Annotated[int, Field({bounds}), WHOLE]",
        model=names.model,
    )


def _bound(value: int) -> str:
    return {MAX_ID: "MAX_ID", -MAX_ID: "-MAX_ID"}.get(value, repr(value))


def _float(spec: Spec, names: Names) -> Field:
    low, high = _limits(spec, _finite, None, None)
    default, first, second = _number(spec, _finite, low, high)
    if first == second or (low is not None and high is not None and high - low < 1):
        first, second = low or 0.0, high or 0.0
    bounds = [
        f"{name}={bound!r}" for name, bound in (("ge", low), ("le", high)) if bound is not None
    ]
    alias = _alias(spec, names) if bounds else "FiniteFloat"
    broken = [('"1"', f"/{spec.name}", "float_type")]
    if high is not None:
        broken.append((repr(high + 1), f"/{spec.name}", "less_than_equal"))
    return _make(
        spec,
        python="float",
        given=alias,
        default=default,
        sample=repr(first),
        changed=repr(second),
        broken=broken,
        type=f"{alias} = Annotated[FiniteFloat, Field({', '.join(bounds)})]" if bounds else "",
        model=names.model,
    )


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


def _bool(spec: Spec, names: Names) -> Field:
    spec.takes_no("limits")
    if spec.default not in {None, "true", "false"}:
        raise spec.refused("its default is true or false")
    default = None if spec.optional else str(spec.default == "true")
    first = default == "False"
    is_it = Filter(
        type="UrlBool | None",
        where=f"lambda wanted, _: {names.model}.{spec.name}.is_(wanted)",
        description=f"Those whose `{spec.name}` is this.",
        finds=f"{spec.name}={str(first).lower()}",
        misses=f"{spec.name}={str(not first).lower()}",
    )
    return _make(
        spec,
        python="bool",
        given="bool",
        default=(default, default) if default else None,
        sample=repr(first),
        changed=repr(not first),
        broken=[("1", f"/{spec.name}", "bool_type")],
        filters={spec.name: is_it},
        sortable=False,
        model=names.model,
    )


def _range(spec: Spec, names: Names, given: str, sample: str) -> dict[str, Filter]:
    stem = re.sub("_(at|on)$", "", spec.name)
    column = f"{names.model}.{spec.name}"
    return {
        f"{stem}_after": Filter(
            type=f"{given} | None",
            where=f"lambda start, _: {column} >= start",
            description=f"`{spec.name}` is this or later.",
            finds=f"{stem}_after={sample}",
        ),
        f"{stem}_before": Filter(
            type=f"{given} | None",
            where=f"lambda end, _: {column} < end",
            description=f"`{spec.name}` is earlier than this.",
            misses=f"{stem}_before={sample}",
        ),
    }


def _date(spec: Spec, names: Names) -> Field:
    spec.takes_no("limits", "default")
    return _make(
        spec,
        python="date",
        given="CalendarDate",
        sample='"2030-05-01"',
        changed='"2030-06-01"',
        required="date(2030, 5, 1)",
        broken=[('"2030-02-30"', f"/{spec.name}", "date_value")],
        filters=_range(spec, names, "CalendarDate", "2030-05-01"),
        model=names.model,
    )


def _datetime(spec: Spec, names: Names) -> Field:
    spec.takes_no("limits", "default")
    return _make(
        spec,
        python="datetime",
        given="Timestamp",
        column=["UTCDateTime"],
        sample='"2030-05-01T12:00:00Z"',
        changed='"2030-06-01T12:00:00Z"',
        required="datetime(2030, 5, 1, 12, tzinfo=UTC)",
        broken=[('"2030-05-01T12:00:00"', f"/{spec.name}", "timestamp_format")],
        filters=_range(spec, names, "Timestamp", "2030-05-01T12:00:00Z"),
        model=names.model,
    )


def _enum(spec: Spec, names: Names) -> Field:
    values = (spec.limits or "").split("|")
    if len(set(values)) < max(len(values), 2) or not all(map(NAME.fullmatch, values)):
        raise spec.refused("its values are written as in enum(low|high), each once, two or more")
    if spec.default is not None and spec.default not in values:
        raise spec.refused(f"its default {spec.default!r} is none of its values")
    alias, enum = _alias(spec, names), names.model + camel(spec.name)
    default = None
    if spec.default is not None:
        default = (f"{enum}.{spec.default.upper()}", repr(spec.default))
    members = "\n".join(f'    {value.upper()} = "{value}"' for value in values)
    title = f"The {words(spec.name)} of {names.a_noun}, in the order to sort by."
    one_of = Filter(
        type=f"list[{alias}]",
        where=f"lambda values, _: {names.model}.{spec.name}.in_(values)",
        description=f"`{spec.name}` is one of these.",
        default="[]",
        finds=f"{spec.name}={values[0]}&{spec.name}={values[1]}",
        misses=f"{spec.name}={values[0]}",
    )
    return _make(
        spec,
        python=enum,
        given=alias,
        column=[f"Ranked({enum})"],
        default=default,
        sample=repr(values[1]),
        changed=repr(values[0]),
        required=f"{enum}.{values[0].upper()}",
        broken=[('"?"', f"/{spec.name}", "enum")],
        definition=f'class {enum}(StrEnum):\n    """{title}"""\n\n{members}',
        type=f"{alias} = Annotated[{enum}, Field(strict=False)]",
        filters={spec.name: one_of},
        imports={
            "schema.py": f"from .model import {enum}",
            "router.py": f"from .schema import {alias}",
            "tests/factory.py": f"from {names.in_templates()['package']}.model import {enum}",
        },
        model=names.model,
    )


def _reference(model: type[Resource], package: str) -> Kind:
    """Make the type of fields that have the id of a row of this model."""
    target = model.__name__

    def build(spec: Spec, names: Names) -> Field:
        spec.takes_no("limits", "default")
        if find_spec(f"{package}.tests.factory") is None:
            raise spec.refused(f"{package} has no tests/factory.py to make its rows with")
        name = f"{spec.name.removesuffix('_id')}_id"
        clears = "SET NULL" if spec.optional else "CASCADE"
        from_model = f"from {model.__module__} import {target}"
        from_factory = f"from {package}.tests.factory import {target}Factory"
        becomes = "assert response.status_code == 404"
        if spec.optional:
            becomes = (
                "after = response.json()\n    "
                f'assert (after["{name}"], after["version"]) == (None, 2)'
            )
        one_of = Filter(
            type="list[UrlId]",
            where=f"lambda ids, _: {names.model}.{name}.in_(ids)",
            description=f"`{name}` is one of these.",
            default="[]",
        )
        return _make(
            replace(spec, name=name),
            python="int",
            given="Id",
            column=["BigInt", f'ForeignKey({target}.id, ondelete="{clears}")'],
            sample=f"{target}Factory.create().id",
            changed=f"{target}Factory.create().id",
            required=f"LazyFunction(lambda: {target}Factory.create().id)  {UNTYPED}",
            broken=[("4711", f"/{name}", f"unknown_{spec.kind}")],
            filters={name: one_of},
            indexed=True,
            imports={
                "model.py": from_model,
                "router.py": from_model,
                "tests/factory.py": from_factory,
                "tests/test_feature.py": f"{from_model}\n{from_factory}",
            },
            before_create=f'require(session, {target}, data.{name}, at="/{name}")',
            before_update=f'require(session, {target}, data.changes().get("{name}"), at="/{name}")',
            sortable=False,
            model=names.model,
            test=f'''\
def test_what_becomes_of_one_whose_{name.removesuffix("_id")}_goes(
    client: TestClient, database: Database
) -> None:
    before = make(client)
    found = client.get("/{names.plural}", params={{"{name}": before["{name}"]}}).json()
    assert found["items"] == [before]
    assert client.get("/{names.plural}?{name}=4711").json()["items"] == []
    with database.session(write=True) as session:
        session.execute(delete({target}).where({target}.id == before["{name}"]))
        session.commit()
    response = client.get("/{names.plural}/1")
    {becomes}
''',
        )

    return build


def _offered(kind: str, slots: dict[str, Any]) -> Kind:
    """Make the type that a feature offers in its own words."""

    def build(spec: Spec, names: Names) -> Field:
        spec.takes_no("limits", "default", "?")
        if spec.name != slots["name"]:
            raise spec.refused(f"one of the type {kind} is called {slots['name']!r}")
        filled = _filled(slots, names.in_templates())
        filters = {name: Filter(**slot) for name, slot in filled.pop("filters", {}).items()}
        return Field(**filled, filters=filters)

    return build


def _filled(slot: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(slot, dict):
        return {name: _filled(value, texts) for name, value in slot.items()}
    if isinstance(slot, list):
        return [_filled(value, texts) for value in slot]
    return Template(slot).substitute(texts).strip() if isinstance(slot, str) else slot


PLAIN: dict[str, Kind] = {
    "str": _str,
    "text": _text,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "date": _date,
    "datetime": _datetime,
    "enum": _enum,
}


def kinds_of(features: Iterable[Feature]) -> dict[str, Kind]:
    """Give the types that there are: the plain ones, and what the features add to them.

    A field of the type ``task`` refers to a ``Task``; a feature's file ``field.toml`` offers more.
    """
    kinds = dict(PLAIN)
    for feature in features:
        folder = Path(str(import_module(feature.package).__file__)).parent
        if (folder / OFFERED).is_file():
            offered = tomllib.loads((folder / OFFERED).read_text())
            kinds |= {kind: _offered(kind, slots) for kind, slots in offered.items()}
        for mapper in Base.registry.mappers:
            model = mapper.class_
            if model.__module__.startswith(f"{feature.package}.") and issubclass(model, Resource):
                kinds.setdefault(snake(model.__name__), _reference(model, feature.package))
    return kinds


def fields_of(texts: Iterable[str], names: Names, kinds: Mapping[str, Kind]) -> list[Field]:
    """Turn fields as they were asked for into code, or refuse one of them."""
    fields: list[Field] = []
    for spec in map(Spec.of, texts):
        _check_name(spec)
        if spec.kind not in kinds:
            raise spec.refused(f"there is no type {spec.kind!r}; there are {', '.join(kinds)}")
        fields.append(kinds[spec.kind](spec, names))
    members = [made.name for made in fields]
    parameters = [(made.name, name) for made in fields for name in made.filters]
    for made in fields:
        if members.count(made.name) > 1:
            raise RefusedError(f"the field {made.name!r}: there are two of this name")
        for owner, name in parameters:
            if name in made.filters and owner != made.name:
                raise RefusedError(f"the field {owner!r}: another one has a filter {name!r} too")
    return fields


def _check_name(spec: Spec) -> None:
    check(spec.name, "the field")
    if spec.name in ANNOTATIONS:
        raise spec.refused("that is the name of a type; say what it is, as in due_on")
    if spec.name in PARAMETERS:
        raise spec.refused("every list has a parameter of this name")
    if spec.name.startswith("model_") or any(hasattr(base, spec.name) for base in BASES):
        raise spec.refused("every resource has an attribute of this name already")
