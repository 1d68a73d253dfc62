"""The commands for work on features: ``new``, ``check`` and ``features``."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import HelpFormatter, _SubParsersAction
    from collections.abc import Callable, Iterable

    from fastapi import FastAPI

    from vibetracker.core.discovery import Feature

NEW = """\
Write a feature: model, schema, router with list, create, get, update and
delete, factory and tests. It is one new folder in vibetracker/features, and
nothing else changes.

A field is name:type, with limits in parentheses if it has some, and then ? if
it may be left out, or =default. Quote it: parentheses, ? and | mean something
to a shell.
"""
NEW_EXAMPLES = """\
types:
  str       one line of 1 to 200 characters; of others with title:str(1..80)
  text      many lines, up to 10000 characters or text(..500)
  int       a whole number: count:int, rating:int(1..5)=3
  float     a number: weight:float(0..)
  bool      false when left out, or true with pinned:bool=true
  date      a day, as in 2030-05-01
  datetime  an instant, as in 2030-05-01T12:00:00Z
  enum      one of some words, in the order to sort by: enum(low|high)=low
  ...       the singular of another feature's rows refers to one of them:
            owner:person is the owner_id of a person. Features may offer more;
            a type that there is not is answered with those that there are.

What has neither ? nor a default has to be given, except for bool. With ? it
is null when it is left out, and text is empty.

examples:
  vibetracker new notes
  vibetracker new notes title:str 'due:date?' 'mood:enum(good|bad)'
  vibetracker new --singular person people 'name:str(1..80)' 'height:float?'
"""


def add_commands(
    commands: "_SubParsersAction[Any]",
    load: "Callable[[], FastAPI]",
    layout: "type[HelpFormatter]",
) -> None:
    """Add the commands to those of ``vibetracker``; ``load`` gives the application."""
    new = commands.add_parser(
        "new",
        help="write a new feature, with tests",
        description=NEW,
        epilog=NEW_EXAMPLES,
        formatter_class=layout,
    )
    new.add_argument("name", help="the plural of what it keeps; its folder and its path")
    new.add_argument(
        "fields", nargs="*", metavar="field", help="default: title:str description:text?"
    )
    new.add_argument("--singular", help="what one row is called, where English is irregular")
    new.add_argument("--about", help="what the feature is for, in a few words")
    new.set_defaults(command=_new)

    check = commands.add_parser(
        "check",
        help="check every feature against the house rules",
        description="Check every feature against the house rules, and print each breach with its "
        "place and its mend. The exit status is 1 when there is one.",
        epilog="example:\n  vibetracker check\n",
        formatter_class=layout,
    )
    check.set_defaults(command=_check)

    features = commands.add_parser(
        "features",
        help="list the features",
        description="List the features with where they come from, their routes and tables, "
        "and the features that they need.",
        epilog="examples:\n"
        "  vibetracker features\n"
        "  DISABLED_FEATURES=notes vibetracker features    as they are without notes\n",
        formatter_class=layout,
    )
    features.set_defaults(command=lambda _: _list(load().state.features))


def _new(options: Namespace) -> int:
    from vibetracker.cli import UnusableError
    from vibetracker.core.discovery import FeatureError

    try:
        from vibetracker.scaffold import RefusedError, write
    except ModuleNotFoundError as error:
        # The tests that it writes are run with what the extra brings.
        raise UnusableError(f"new needs the extra `dev` ({error.name} is missing)") from None
    try:
        folder = write(options.name, options.fields, singular=options.singular, about=options.about)
    except (RefusedError, FeatureError) as error:
        raise UnusableError(error) from None
    place = _from_here(folder)
    print(f"wrote {place}")
    print(f"next: `pytest {place}`, then `vibetracker dev` serves it at")
    print(f"      http://127.0.0.1:8000/{options.name}")
    return 0


def _check(_: Namespace) -> int:
    from vibetracker.check import breaches

    found = breaches()
    for breach in found:
        print(f"{_from_here(breach.path)}:{breach.line}: {breach.problem}; {breach.mend}")
    return 1 if found else 0


def _list(features: "Iterable[Feature]") -> int:
    for feature in features:
        routes = [f"{operation.verb} {operation.path_format}" for operation in feature.operations]
        print(feature.name)
        print("  origin ", feature.origin)
        for title, values in (
            ("routes", routes),
            ("tables", feature.tables),
            ("needs ", feature.needs),
        ):
            print(f"  {title} ", ", ".join(values) or "-")
    return 0


def _from_here(path: Path) -> Path:
    """Write a path as short as it can be from the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
