"""The names of a new feature, and which names are refused."""

import builtins
import re
from dataclasses import dataclass
from functools import cache
from keyword import iskeyword
from pathlib import Path

from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS
from sqlalchemy.dialects.sqlite.base import SQLiteIdentifierPreparer

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 30
TEMPLATES = Path(__file__).parent / "templates"
SQL = RESERVED_WORDS | SQLiteIdentifierPreparer.reserved_words


class RefusedError(Exception):
    """What was asked for cannot be written; the text says why and what else would do."""


@dataclass(frozen=True)
class Names:
    """How code and prose call a feature and its rows."""

    plural: str
    singular: str

    @property
    def model(self) -> str:
        """Give the name of the class."""
        return camel(self.singular)

    @property
    def noun(self) -> str:
        """Give the singular as in a sentence."""
        return words(self.singular)

    @property
    def a_noun(self) -> str:
        """Give the singular with its article."""
        return one(self.singular)

    def in_templates(self) -> dict[str, str]:
        """Give what templates call by name."""
        return {
            "plural": self.plural,
            "singular": self.singular,
            "model": self.model,
            "noun": self.noun,
            "nouns": words(self.plural),
            "Nouns": capital(words(self.plural)),
            "a_noun": self.a_noun,
            "A_noun": capital(self.a_noun),
            "package": f"vibetracker.features.{self.plural}",
        }


def camel(name: str) -> str:
    """Write a name as that of a class."""
    return "".join(part.capitalize() for part in name.split("_"))


def snake(name: str) -> str:
    """Write the name of a class as that of a variable."""
    return re.sub("(?<!^)(?=[A-Z])", "_", name).lower()


def words(name: str) -> str:
    """Write a name as in a sentence."""
    return name.replace("_", " ")


def one(name: str) -> str:
    """Write a name as in a sentence, with its article."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {words(name)}"


def capital(text: str) -> str:
    """Begin a text with a capital."""
    return text[:1].upper() + text[1:]


def check(name: str, what: str) -> None:
    """Refuse a name that cannot be one in Python, in SQL and in a URL."""
    if not NAME.fullmatch(name):
        raise RefusedError(f"{what} {name!r}: a name is lower-case words, as in my_name")
    if len(name) > LONGEST:
        raise RefusedError(f"{what} {name!r}: a name has at most {LONGEST} characters")
    if iskeyword(name):
        raise RefusedError(f"{what} {name!r}: that is a keyword of Python")
    if name in SQL:
        raise RefusedError(f"{what} {name!r}: that is a reserved word of SQL")


def names_of(plural: str, singular: str | None) -> Names:
    """Name a feature and its rows; the singular is found where English is regular."""
    check(plural, "the feature")
    if singular is None:
        singular = singular_of(plural)
    if singular is None or singular == plural:
        raise RefusedError(
            f"the feature {plural!r}: its name is a plural, since it stands before an id in paths; "
            "if it is one, say what one row is called with --singular"
        )
    check(singular, "the singular")
    names = Names(plural, singular)
    for name in (plural, singular, names.model):
        if hasattr(builtins, name) or name in taken():
            raise RefusedError(
                f"the name {name!r}: the code of a feature calls something else so; "
                "say what one row is called with --singular, or choose another name"
            )
    return names


def singular_of(plural: str) -> str | None:
    """Guess the singular of a regular English plural."""
    endings = {"ies": "y", "(?<=ss|sh|ch)es": "", "(?<=[xz])es": "", "(?<!s)s": ""}
    for ending, stem in endings.items():
        if re.search(f".{ending}$", plural):
            return re.sub(f"{ending}$", stem, plural)
    return None


@cache
def taken() -> frozenset[str]:
    """Give every name that the templates use for something of their own."""
    text = "".join(file.read_text() for file in TEMPLATES.rglob("*.py-tpl"))
    code = re.sub(r'"""[^"]*"""|"[^"\n]*"|\$\{?\w+\}?', " ", text)
    return frozenset(re.findall(r"[A-Za-z]\w*", code))
