"""What the commands build their parsers from."""

import os
import re
from argparse import ArgumentParser, ArgumentTypeError, HelpFormatter, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, override

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    type Commands = _SubParsersAction[ArgumentParser]


class Layout(HelpFormatter):
    """Wraps paragraphs, and leaves examples as they are."""

    @override
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def add_command(
    commands: "Commands",
    name: str,
    run: Callable[[Namespace], int],
    *,
    summary: str,
    description: str,
    examples: str,
) -> ArgumentParser:
    """Add a command, which ``run`` carries out, and return its parser."""
    parser = commands.add_parser(
        name, help=summary, description=description, epilog=examples, formatter_class=Layout
    )
    parser.set_defaults(run=run)
    return parser


def add_port(parser: ArgumentParser) -> None:
    """Add the option that names the port; platforms name it in the environment."""
    default = os.environ.get("PORT") or "8000"
    parser.add_argument("--port", type=port, default=default, help="default: %(default)s")


def port(text: str) -> int:
    """Parse the number of a port; 0 stands for any that is free."""
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError("expected a port, 0 to 65535")
    return int(text)


def count(text: str) -> int:
    """Parse a number of things, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("expected a number, 1 or more")
    return int(text)


def path(text: str) -> str:
    """Parse the path of a URL, and leave out the slash at its end."""
    if not re.fullmatch(r"(/[\w.~-]+)*/?", text, re.ASCII):
        raise ArgumentTypeError("expected a path such as /api")
    return text.rstrip("/")
