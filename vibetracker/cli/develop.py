"""The commands for work on features: ``new``, ``check`` and ``features``."""

from argparse import Namespace
from typing import TYPE_CHECKING

from .application import load_application
from .arguments import add_command
from .refusals import UnusableError, from_here

if TYPE_CHECKING:
    from .arguments import Commands

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


def add_to(commands: "Commands") -> None:
    """Add the commands."""
    new = add_command(
        commands,
        "new",
        _new,
        summary="write a new feature, with tests",
        description=NEW,
        examples=NEW_EXAMPLES,
    )
    new.add_argument("name", help="the plural of what it keeps; its folder and its path")
    new.add_argument(
        "fields", nargs="*", metavar="field", help="default: title:str description:text?"
    )
    new.add_argument("--singular", help="what one row is called, where English is irregular")
    new.add_argument("--about", help="what the feature is for, in a few words")
    add_command(
        commands,
        "check",
        _check,
        summary="check every feature against the house rules",
        description="Check every feature against the house rules, and print each breach with its "
        "place and its mend. The exit status is 1 when there is one.",
        examples="example:\n  vibetracker check\n",
    )
    add_command(
        commands,
        "features",
        _features,
        summary="list the features",
        description="List the features with where they come from, their routes and tables, "
        "and the features that they need.",
        examples="examples:\n"
        "  vibetracker features\n"
        "  DISABLED_FEATURES=notes vibetracker features    as they are without notes\n",
    )


def _new(options: Namespace) -> int:
    try:
        from .new import write
    except ModuleNotFoundError as error:
        # The tests that it writes are run with what the extra brings.
        raise UnusableError(f"new needs the extra `dev` ({error.name} is missing)") from None
    place = from_here(
        write(options.name, options.fields, singular=options.singular, about=options.about)
    )
    print(f"wrote {place}")
    print(f"next: `pytest {place}`, then `vibetracker dev` serves it at")
    print(f"      http://127.0.0.1:8000/{options.name}")
    return 0


def _check(_: Namespace) -> int:
    from .check import breaches

    found = breaches()
    for breach in found:
        place = from_here(breach.path)
        print(f"{place}:{breach.line}: {breach.problem}; {breach.mend}")
    return 1 if found else 0


def _features(_: Namespace) -> int:
    by_name = {feature.name: feature for feature in load_application().state.features}
    from vibetracker.core.discovery import sources

    from .needs import in_order, needs, owners_of_tables

    found = {name: source for name, source in sources().items() if name in by_name}
    owners = owners_of_tables(by_name[name] for name in in_order(found))
    for name, feature in by_name.items():
        routes = [f"{operation.verb} {operation.path_format}" for operation in feature.operations]
        print(name)
        print("  origin ", found[name].origin)
        for title, values in (
            ("routes", routes),
            ("tables", [table for table, owner in owners.items() if owner == name]),
            ("needs ", needs(found[name], found)),
        ):
            print(f"  {title} ", ", ".join(values) or "-")
    return 0
