"""The names of a new feature and of its fields, and which names are refused."""

import builtins
import re
from functools import cache
from keyword import iskeyword
from pathlib import Path

from factory.base import Factory

from vibetracker.cli.refusals import UnusableError
from vibetracker.core.api.filters import Filters
from vibetracker.core.api.schema import Output, Patch
from vibetracker.core.db.model import Resource

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
TEMPLATES = Path(__file__).parent / "templates"
BASES = (Resource, Patch, Output, Filters, Factory)
"""The classes that a field becomes an attribute of."""
ENDINGS = {"ies": "y", "(?<=ss|sh|ch)es": "", "(?<=[xz])es": "", "(?<!s)s": "", "": ""}
"""Endings of English plurals, and those of the singular."""


def names_of(plural: str, singular: str | None) -> dict[str, str]:
    """Return what templates call a feature and its rows; the singular is a guess if not given."""
    check_name(plural, "the feature")
    ending = next(ending for ending in ENDINGS if re.search(f".{ending}$", plural))
    singular = singular or re.sub(f"{ending}$", ENDINGS[ending], plural)
    check_name(singular, "the singular")
    model, noun, nouns = camel(singular), singular.replace("_", " "), plural.replace("_", " ")
    if singular == plural:
        raise UnusableError(
            f"the feature {plural!r}: its name is a plural, since it stands before an id in paths; "
            "if it is one, say what one row is called with --singular"
        )
    for name in (plural, singular, model):
        if hasattr(builtins, name) or name in taken():
            raise UnusableError(
                f"the name {name!r}: the code of a feature calls something else so; "
                "say what one row is called with --singular, or choose another name"
            )
    names = {"plural": plural, "singular": singular, "model": model, "noun": noun, "nouns": nouns}
    a_noun = f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
    return names | {"Nouns": nouns.capitalize(), "a_noun": a_noun, "A_noun": a_noun.capitalize()}


def check_field(name: str) -> None:
    """Refuse the name of a field that would hide something else."""
    check_name(name, "the field")
    is_used = name in {"bool", "date", "datetime", "float", "int", "list", "self", "str"}
    if is_used or name.startswith("model_") or any(hasattr(base, name) for base in BASES):
        raise UnusableError(
            f"the field {name!r}: every resource has an attribute of this name, or a type is "
            "called so; say what it is, as in due_on"
        )


def check_name(name: str, what: str) -> None:
    """Refuse what is no name in Python and in a URL."""
    if not NAME.fullmatch(name) or len(name) > 30 or iskeyword(name):
        raise UnusableError(
            f"{what} {name!r}: a name is lower-case words as in my_name, no keyword of Python, and "
            "has at most 30 characters"
        )


def camel(name: str) -> str:
    """Return a name as that of a class."""
    return "".join(map(str.capitalize, name.split("_")))


@cache
def taken() -> frozenset[str]:
    """Return every name that the templates use for something of their own."""
    text = "".join(file.read_text() for file in TEMPLATES.rglob("*.py-tpl"))
    code = re.sub(r'"""[^"]*"""|"[^"\n]*"|\$\{?\w+\}?', " ", text)
    return frozenset(re.findall(r"[A-Za-z]\w*", code))
