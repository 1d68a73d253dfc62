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

import pydantic
from factory.base import Factory
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from vibetracker.core.api.filters import Filters
from vibetracker.core.api.paging import PageRequest
from vibetracker.core.api.schema import MAX_ID, Output, Patch
from vibetracker.core.api.text import Line, Prose
from vibetracker.core.db.model import Base, Resource
from vibetracker.core.discovery import Feature

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
        name, kind, limits, optional, default = found.groups()
        spec = cls(name, kind, limits, bool(optional), default)
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

    def limits_of[N: (int, float)](
        self, number: type[N], low: N | None, high: N | None
    ) -> tuple[N | None, N | None]:
        """Read ``low..high``, either of which may be left out; without any, these hold."""
        if self.limits is None:
            return low, high
        lowest, dots, highest = self.limits.partition("..")
        try:
            low = number(lowest) if lowest else low
            high = number(highest) if highest else high
        except ValueError:
            dots = ""
        if not dots or not all(isfinite(limit) for limit in (low, high) if limit is not None):
            raise self.refused(f"its limits {self.limits!r} are not written low..high, as in 1..5")
        if low is not None and high is not None and low > high:
            raise self.refused(f"its limits {self.limits!r} are the wrong way round")
        return low, high

    def default_as(self, annotation: Any) -> str | None:
        """Write the default as Python does, if there is one and it is of this type."""
        if self.default is None:
            return None
        try:
            return repr(TypeAdapter(annotation).validate_strings(self.default))
        except ValidationError as error:
            raise self.refused(f"its default: {error.errors()[0]['msg']}") from None


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
    names: Names,
    *,
    python: str,
    given: str,
    sample: str,
    changed: str,
    broken: Mapping[str, str],
    column: Iterable[str] = (),
    default: str | None = None,
    answered: str | None = None,
    required: str | None = None,
    sortable: bool = True,
    **rest: Any,
) -> Field:
    """Put together what all plain columns have in common.

    ``broken`` has values that break a rule, each with its code; ``answered`` is the default as a
    client reads it, where that is spelt in another way.
    """
    name = spec.name
    is_nullable = spec.optional and default is None
    is_required = default is None and not spec.optional
    hint = f"{python} | None" if is_nullable else python
    null = " | None" if is_nullable else ""
    create = f"{given}{null}" + ("" if is_required else f" = {default or None}")
    arguments = ", ".join([*column, *([f"default={default}"] if default else [])])
    return Field(
        name=name,
        column=f"{name}: Mapped[{hint}]" + (f" = mapped_column({arguments})" if arguments else ""),
        create=create,
        update=f"{given} | MISSING{null} = MISSING",
        read=hint,
        sample=sample,
        changed=changed,
        broken=[(value, f"/{name}", code) for value, code in broken.items()],
        absent=None if is_required else answered or default or "None",
        required=f"{name} = {required or sample}" if is_required else "",
        key=f"{names.model}.{name}{', nullable=True' * is_nullable}" if sortable else "",
        **rest,
    )


def _alias(spec: Spec, names: Names) -> str:
    """Name the type of a field in the schemas."""
    name = camel(spec.name)
    return f"{name}Value" if name in taken() or name.startswith(names.model) else name


def _text(spec: Spec, names: Names) -> Field:
    is_line = spec.kind == "str"
    longest = 10_000 if is_line else 1_000_000
    low, high = spec.limits_of(int, *((1, 200) if is_line else (0, 10_000)))
    if low is None or high is None or low < 0 or not 1 <= high <= longest:
        raise spec.refused(f"a {spec.kind} has at most {longest} characters")
    if low and not is_line:
        raise spec.refused("a text may be empty; what may not is a str")
    mark: Line | Prose = Line(high, low) if is_line else Prose(high)
    shortest = f", min_length={low}" if is_line and low != 1 else ""
    default = spec.default_as(Annotated[str, mark])
    alias = _alias(spec, names)
    another = f"another {words(spec.name)}"
    broken = {f'"x" * {high + 1:_}': "string_too_long"}
    if is_line:
        broken['"a\\nb"'] = "text_control_character"
        sample = _fitting(one(spec.name), "a", low, high)
        has_room = low == 1 and high >= 40
        required = f'Sequence(lambda n: f"{words(spec.name)} {{n}}")  {UNTYPED}' * has_room
    else:
        broken["None"] = "string_type"
        sample = _fitting(f"{capital(one(spec.name))}\n\nof two parts", "a", 0, high)
        required = ""
        if spec.optional:
            # Empty is what a text is without one: null would say the same in another way.
            default = '""'
    return _make(
        spec,
        names,
        python="str",
        given=alias,
        column=["OrderedText"] if is_line else [],
        default=default,
        sample=sample,
        changed=_fitting(another, "b", low, high),
        required=required,
        broken=broken,
        type=f"{alias} = Annotated[str, {type(mark).__name__}({high:_}{shortest})]",
        sortable=is_line,
    )


def _fitting(words: str, letter: str, low: int, high: int) -> str:
    if low <= len(words) <= high:
        return repr(words)
    length = max(low, 1)
    return repr(letter * length) if length < 10 else f'"{letter}" * {length}'


def _number(spec: Spec, names: Names) -> Field:
    number: type[int | float] = int if spec.kind == "int" else float
    low, high = spec.limits_of(number, *((-MAX_ID, MAX_ID) if number is int else (None, None)))
    if number is int and max(abs(low or 0), abs(high or 0)) > MAX_ID:
        raise spec.refused(f"its limits lie outside of -{MAX_ID}..{MAX_ID}")
    exact: Any = int if number is int else FiniteFloat
    default = spec.default_as(Annotated[exact, pydantic.Field(ge=low, le=high)])
    wanted = [number(1), number(2), low, high, (low or 0) + number(1), (high or 0) - number(1)]
    examples = [
        repr(value)
        for value in dict.fromkeys(wanted)
        if value is not None and (low is None or low <= value) and (high is None or value <= high)
    ]
    if len(examples) < 2:
        raise spec.refused(f"its limits {spec.limits!r} leave no choice")
    given, definition = "int" if number is int else "FiniteFloat", ""
    bounds = {"ge": low, "le": high}
    if limits := [f"{name}={_bound(it)}" for name, it in bounds.items() if it is not None]:
        alias, whole = _alias(spec, names), ", WHOLE" * (number is int)
        given, definition = (
            alias,
            f"{alias} = Annotated[{given}, Field({', '.join(limits)}){whole}]",
        )
    broken = {f'"{examples[0]}"': f"{spec.kind}_type"}
    if high is not None:
        broken[repr(high + 1)] = "less_than_equal"
    return _make(
        spec,
        names,
        python=spec.kind,
        given=given,
        column=["BigInt"] if number is int else [],
        default=default,
        sample=examples[0],
        changed=examples[1],
        broken=broken,
        type=definition,
    )


def _bound(value: float) -> str:
    if isinstance(value, float) or abs(value) < MAX_ID:
        return repr(value)
    return "MAX_ID" if value > 0 else "-MAX_ID"


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
        names,
        python="bool",
        given="bool",
        default=default,
        sample=repr(first),
        changed=repr(not first),
        broken={"1": "bool_type"},
        filters={spec.name: is_it},
        sortable=False,
    )


def _moment(spec: Spec, names: Names) -> Field:
    spec.takes_no("limits", "default")
    is_day = spec.kind == "date"
    given, clock = ("CalendarDate", "") if is_day else ("Timestamp", "T12:00:00Z")
    stem = re.sub("_(at|on)$", "", spec.name)
    column = f"{names.model}.{spec.name}"
    filters = {
        f"{stem}_after": Filter(
            type=f"{given} | None",
            where=f"lambda start, _: {column} >= start",
            description=f"`{spec.name}` is this or later.",
            finds=f"{stem}_after=2030-05-01{clock}",
        ),
        f"{stem}_before": Filter(
            type=f"{given} | None",
            where=f"lambda end, _: {column} < end",
            description=f"`{spec.name}` is earlier than this.",
            misses=f"{stem}_before=2030-05-01{clock}",
        ),
    }
    return _make(
        spec,
        names,
        python=spec.kind,
        given=given,
        column=[] if is_day else ["UTCDateTime"],
        sample=f'"2030-05-01{clock}"',
        changed=f'"2030-06-01{clock}"',
        required="date(2030, 5, 1)" if is_day else "datetime(2030, 5, 1, 12, tzinfo=UTC)",
        broken={
            f'"2030-02-30{clock}"': f"{'date' if is_day else 'timestamp'}_value",
            '"tomorrow"': f"{'date' if is_day else 'timestamp'}_format",
        },
        filters=filters,
    )


def _enum(spec: Spec, names: Names) -> Field:
    values = (spec.limits or "").split("|")
    if len(set(values)) < max(len(values), 2) or not all(map(NAME.fullmatch, values)):
        raise spec.refused("its values are written as in enum(low|high), each once, two or more")
    if spec.default is not None and spec.default not in values:
        raise spec.refused(f"its default {spec.default!r} is none of its values")
    alias, enum = _alias(spec, names), names.model + camel(spec.name)
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
        names,
        python=enum,
        given=alias,
        column=[f"Ranked({enum})"],
        default=spec.default and f"{enum}.{spec.default.upper()}",
        answered=spec.default and repr(spec.default),
        sample=repr(values[1]),
        changed=repr(values[0]),
        required=f"{enum}.{values[0].upper()}",
        broken={'"?"': "enum"},
        definition=f'class {enum}(StrEnum):\n    """{title}"""\n\n{members}',
        type=f"{alias} = Annotated[{enum}, Field(strict=False)]",
        filters={spec.name: one_of},
        imports={
            "schema.py": f"from .model import {enum}",
            "router.py": f"from .schema import {alias}",
            "tests/factory.py": f"from {names.in_templates()['package']}.model import {enum}",
        },
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
            names,
            python="int",
            given="Id",
            column=["BigInt", f'ForeignKey({target}.id, ondelete="{clears}")'],
            sample=f"{target}Factory.create().id",
            changed=f"{target}Factory.create().id",
            required=f"LazyFunction(lambda: {target}Factory.create().id)  {UNTYPED}",
            broken={"4711": f"unknown_{spec.kind}"},
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
    "str": _text,
    "text": _text,
    "int": _number,
    "float": _number,
    "bool": _bool,
    "date": _moment,
    "datetime": _moment,
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
