"""The command ``openapi``."""

import json
from argparse import Namespace
from typing import TYPE_CHECKING

from .application import load_application
from .arguments import add_command

if TYPE_CHECKING:
    from .arguments import Commands


def add_to(commands: "Commands") -> None:
    """Add the command."""
    add_command(
        commands,
        "openapi",
        _openapi,
        summary="print the OpenAPI document",
        description="Print the OpenAPI document as JSON, the same text for the same API.",
        examples="example:\n  vibetracker openapi > openapi.json\n",
    )


def _openapi(_: Namespace) -> int:
    print(json.dumps(load_application().openapi(), indent=2, sort_keys=True))
    return 0
