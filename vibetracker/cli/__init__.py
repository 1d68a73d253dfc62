"""The command ``vibetracker``: serves the API, in development or production, and what goes with it.

What a command needs is imported when it runs: ``--help`` answers at once, and the process that
watches over ``dev`` loads no application of its own.
"""

import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from vibetracker import __version__

from . import develop, openapi, seed, serve, transfer
from .arguments import Layout
from .refusals import refusal_of, refuse
from .serve import server_config

__all__ = ["main", "parser", "server_config"]

EXAMPLES = """\
examples:
  vibetracker dev                       work on it: SQLite, http://127.0.0.1:8000, reload
  vibetracker seed --count 5000         fill the database with demo data
  vibetracker serve --workers 4         serve the database that DATABASE_URL names
  vibetracker export all.json           write everything into a file, for `import`
  vibetracker openapi > openapi.json    keep the API's description
  vibetracker new notes title:str       write a new feature

Settings come from the environment and from the file .env in the current folder.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        print(end="", flush=True)
    except BrokenPipeError:
        # A reader such as head has seen enough; what is buffered still goes somewhere at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        return refuse(refusal_of(error))
    return status


def parser() -> ArgumentParser:
    """Return the parser of the command line; tools that complete it ask for it by name."""
    command_line = ArgumentParser(
        "vibetracker",
        description="Task tracking over HTTP.",
        epilog=EXAMPLES,
        formatter_class=Layout,
    )
    command_line.add_argument("--version", action="version", version=f"vibetracker {__version__}")
    commands = command_line.add_subparsers(required=True, metavar="command")
    for module in (serve, seed, transfer, openapi, develop):
        module.add_to(commands)
    return command_line
