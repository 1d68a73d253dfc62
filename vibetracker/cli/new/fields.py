"""The fields of a new feature: how they are asked for, and the code that each becomes."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from string import Template
from typing import NamedTuple

from vibetracker.cli.refusals import UnusableError
from vibetracker.core.api.schema import MAX_ID
from vibetracker.core.db.model import has_trash, noun
from vibetracker.core.discovery import Source, models_of

from .names import NAME, camel, check_field, taken

SPEC = re.compile(r"([^:]*):(\w+)(?:\(([^()]*)\))?(\?)?(?:=(.*))?", re.DOTALL)
KINDS = tomllib.loads(Path(__file__).with_name("fields.toml").read_text())
REFERENCE = KINDS.pop("reference")
BELONGING = KINDS.pop("belonging")

type Code = dict[str, str]
type Field = defaultdict[str, str]
"""The code that a field becomes, by the slot of a template where it stands."""


class Spec(NamedTuple):
    """A field as it was asked for: ``name:kind(limits)?=default``."""

    name: str
    kind: str
    limits: str | None
    optional: str | None
    default: str | None

    def refused(self, reason: str) -> UnusableError:
        """Return the error that refuses this field."""
        return UnusableError(f"the field {self.name!r}: {reason}")


def kinds_of(found: Mapping[str, Source]) -> dict[str, Code]:
    """Return the types that there are: the plain ones, and what the features add to them.

    A field of the type ``task`` refers to a ``Task``; a feature's ``field.toml`` offers more.
    """
    kinds: dict[str, Code] = dict(KINDS)
    for source in found.values():
        for model in models_of(source.package):
            target = {"target": model.__name__, "module": model.__module__, "owner": source.package}
            if has_trash(model):
                target["trash"] = model.__tablename__ if "live" in vars(model) else ""
            kinds[noun(model).replace(" ", "_")] = REFERENCE | target
        if (offered := source.folder / "field.toml").is_file():
            kinds |= tomllib.loads(offered.read_text())
    return {kind: kinds.get(table.get("like", ""), {}) | table for kind, table in kinds.items()}


def field_of(text: str, names: Code, kinds: Mapping[str, Code]) -> Field:
    """Return what a field becomes, as it is written on the command line, or refuse it."""
    found = SPEC.fullmatch(text)
    if found is None:
        raise UnusableError(f"the field {text!r}: write name:type, as in title:str(1..200)")
    spec = Spec(*found.groups())
    check_field(spec.name)
    if spec.kind not in kinds:
        raise spec.refused(f"there is no type {spec.kind!r}; there are {', '.join(kinds)}")
    table = kinds[spec.kind]
    for part, asked in {"limits": spec.limits, "?": spec.optional, "default": spec.default}.items():
        if asked is not None and part not in table["takes"].split():
            raise spec.refused(f"the type {spec.kind} takes no {part}")
    if spec.optional and spec.default is not None:
        raise spec.refused("it has either a default or ?, which makes null its default")
    if "trash" in table and not spec.optional:
        # What has no trash of its own has none to be put into by a test.
        table = table | BELONGING | ({} if table["trash"] else {"trash_test": ""})
    code = table | names | _variables(spec, names, table)
    is_required, is_null = "default" not in code, code.get("default") == "None"
    null = " | None" * is_null
    column = [code.get("column"), None if is_required or is_null else "default=$default"]
    arguments = ", ".join(filter(None, column))
    code = {
        "mapped": f"$name: Mapped[$python{null}]" + f" = mapped_column({arguments})" * any(column),
        "create": f"$name: $given{null}" + " = $default" * (not is_required),
        "update": f"$name: $given | MISSING{null} = MISSING",
        "read": f"$name: $python{null}",
        "nullable": ", nullable=True" * is_null,
        "factory": f"$name = {code.get('required', '$sample')}" * is_required,
        "sample_item": '"$name": $sample,',
        "changed_item": '"$name": $changed,',
    } | code
    return defaultdict(str, {place: _filled(text, code) for place, text in code.items()})


def _filled(text: str, code: Code) -> str:
    """Put code in the place of its names, and of those that it has in turn."""
    while "$" in text:
        text = Template(text).substitute(code)
    return text.strip()


def _variables(spec: Spec, names: Code, table: Code) -> Code:
    """Return what a table can refer to beside the names of the feature and its own values."""
    name, alias = spec.name, camel(spec.name)
    code = {"words": name.replace("_", " "), "kind": spec.kind}
    if "target" in table:
        code["which"] = name.removesuffix("_id")
        name = f"{code['which']}_id"
        code["ondelete"] = "SET NULL" if spec.optional else "CASCADE"
    elif "limits" in table:
        code |= _bounded(spec, table)
    elif spec.kind == "enum":
        code |= _enumerated(spec)
    elif spec.kind == "bool":
        if spec.default not in {None, "true", "false"}:
            raise spec.refused("its default is true or false")
        code["default"] = str(spec.default == "true")
    if spec.optional:
        code["default"] = table.get("absent", "None")
    is_taken = alias in taken() or alias.startswith(names["model"])
    code |= {"Alias": f"{alias}Value" if is_taken else alias, "Enum": names["model"] + alias}
    stem = re.sub("_(at|on)$", "", name)
    return code | {"name": name, "stem": stem, "attribute": f"{names['model']}.{name}"}


def _bounded(spec: Spec, table: Code) -> Code:
    """Return the limits of a text or a number, its default, and examples within them."""
    is_text, number = table["python"] == "str", float if table["python"] == "float" else int
    default = (spec.default or "").strip()
    least, most = map(number, table.get("within", table["limits"]).split(".."))
    usual = [number(limit) for limit in table["limits"].split("..")]
    try:
        limits = zip((spec.limits or "..").split(".."), usual, strict=True)
        low, high = (number(given) if given else limit for given, limit in limits)
        size = low if spec.default is None else len(default) if is_text else number(default)
    except ValueError:
        low, high, size = most, least, least
    if not least <= low <= size <= high <= most or "$" in default or not default.isprintable():
        raise spec.refused(
            f"its limits are written low..high, as in 1..5, and lie within {least}..{most}; "
            "its default lies within them, and has no $"
        )
    numbers = dict.fromkeys(map(number, (1, 2, low, low + 1, high - 1, high)))
    examples = [repr(it) for it in numbers if low <= it <= high and isfinite(it)]
    if is_text:
        texts = [f"{which} {spec.name.replace('_', ' ')}" for which in ("some", "other")]
        examples = [repr(it[: int(high)].strip().ljust(int(low), "x")) for it in texts if high]
    if len(examples) < 2:
        raise spec.refused(f"its limits {spec.limits!r} leave no choice")
    bounds = [f"{name}={limit}" for name, limit in (("ge", low), ("le", high)) if isfinite(limit)]
    code = {
        "length": f"{high:_}" if low == usual[0] else f"{high:_}, min_length={low}",
        "bounds": ", ".join(bounds).replace(str(MAX_ID), "MAX_ID"),
        "sample": examples[0],
        "changed": examples[1],
    }
    if not is_text and not bounds:
        code |= {"given": "FiniteFloat", "type": ""}
    if spec.default is not None:
        code["default"] = repr(default) if is_text else repr(size)
    return code


def _enumerated(spec: Spec) -> Code:
    """Return the values of an enum, and its default."""
    values = (spec.limits or "").split("|")
    if len(set(values)) < max(len(values), 2) or not all(map(NAME.fullmatch, values)):
        raise spec.refused("its values are written as in enum(low|high), each once, two or more")
    if spec.default not in {None, *values}:
        raise spec.refused(f"its default {spec.default!r} is none of its values")
    members = "\n".join(f'    {value.upper()} = "{value}"' for value in values)
    code = {"members": members, "first": values[0], "second": values[1], "FIRST": values[0].upper()}
    if spec.default:
        code["default"] = f"$Enum.{spec.default.upper()}"
    return code
