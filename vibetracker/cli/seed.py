"""The command ``seed``."""

from argparse import Namespace
from typing import TYPE_CHECKING

from .application import lasting_database, load_application, set_dev_defaults
from .arguments import add_command, count
from .refusals import UnusableError

if TYPE_CHECKING:
    from .arguments import Commands


def add_to(commands: "Commands") -> None:
    """Add the command."""
    seed = add_command(
        commands,
        "seed",
        _seed,
        summary="fill the database with demo data",
        description="Fill the database with demo data of every feature that has some, by the rules "
        "that requests keep, as what the database begins with: it counts as no change. A database "
        "that has rows already is refused. Without a DATABASE_URL it is the SQLite file "
        "vibetracker.db of the current folder, as for dev. The same seed makes the same data, its "
        "dates counted from today.",
        examples="examples:\n"
        "  vibetracker seed                      1000 tasks, and what goes with them\n"
        "  vibetracker seed --count 50000        more of everything\n"
        "  vibetracker seed --seed 7 --append    other data, beside what is there\n",
    )
    seed.add_argument(
        "--count",
        type=count,
        default=1000,
        help="rows per feature, where it has so many; default: %(default)s",
    )
    seed.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    seed.add_argument(
        "--append", action="store_true", help="add to what the database has, and remove nothing"
    )


def _seed(options: Namespace) -> int:
    set_dev_defaults()
    app = load_application()
    from sqlalchemy.exc import SQLAlchemyError

    from vibetracker.core.db.failures import reason

    from . import demo

    database = lasting_database(app)
    name = database.engine.url.database
    try:
        demos = demo.demos(app.state.features)
        taken = demo.tables_with_rows(database, demos)
        if taken and not options.append:
            raise UnusableError(
                f"the database {name} has rows in {', '.join(taken)} already; name another "
                "one in DATABASE_URL, or add to it with --append"
            )
        for line in demo.fill(database, demos, count=options.count, seed=options.seed):
            print(line)
    except SQLAlchemyError as error:
        raise UnusableError(f"the database {name}: {reason(error)}") from None
    finally:
        database.dispose()
    return 0
