"""The code blocks of a Markdown document, and its console commands, which are run."""

import re
import subprocess
from pathlib import Path

from .processes import environment

VOLATILE = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z": "<time>",
    r'"request_id": "[^"]+"': '"request_id": "<id>"',
    r"passed in [\d.]+s": "passed in <time>",
}


def blocks(language: str, text: str) -> list[str]:
    """Return the code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def turns(text: str) -> list[tuple[str, str]]:
    """Return the console commands that a document shows, each with its output."""
    shown = "".join(blocks("console", text))
    return re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", shown, re.MULTILINE)


def follow(turn: tuple[str, str], folder: Path, address: str = "", **changes: str) -> None:
    """Run a command and compare its output; ``address`` replaces the server's in the document."""
    command, answer = turn
    said = subprocess.run(  # noqa: S603 - the document's own commands
        ["/bin/bash", "-c", command.replace("localhost:8000", address)],
        cwd=folder,
        env=environment(**changes),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert _steady(said) == _steady(answer)


def _steady(text: str) -> str:
    for pattern, shape in VOLATILE.items():
        text = re.sub(pattern, shape, text)
    return text.rstrip("\n")
