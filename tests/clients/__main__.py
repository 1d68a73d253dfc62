"""``python -m tests.clients``: lint the document, and test clients generated from it.

The clients of Python come from the ``dev`` extra; what comes from npm needs Node.js, and is
installed into a temporary folder in the versions of ``package.json``.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.processes import COMMAND, call, running

HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent


def run(folder: Path, *command: str) -> None:
    """Run a step; ``CalledProcessError`` when it fails."""
    sys.stdout.write(f"==> {' '.join(command)}\n")
    sys.stdout.flush()
    path = os.pathsep.join([str(PROGRAMS), str(folder / "node_modules/.bin"), os.environ["PATH"]])
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    subprocess.run(  # noqa: S603 - our own arguments
        command, cwd=folder, env=os.environ | quiet | {"PATH": path}, check=True
    )


def generate_python(folder: Path) -> None:
    """Generate a client with openapi-python-client, and check its types and their use."""
    paths = ("--path=openapi.json", "--output-path=.", "--config=generator.yaml")
    run(folder, "openapi-python-client", "generate", *paths, "--overwrite", "--fail-on-warning")
    run(folder, "mypy", "--strict", "vibetracker_client", "conversation.py")


def lint(folder: Path) -> None:
    """Lint the document; a warning fails."""
    spectral = ("--ruleset=spectral.yaml", "--fail-severity=hint")
    run(folder, "spectral", "lint", "openapi.json", *spectral)
    run(folder, "redocly", "lint", "openapi.json", "--extends=recommended-strict")


def generate_typescript(folder: Path) -> None:
    """Generate types with openapi-typescript, and check their use with openapi-fetch."""
    # What has a default may be left out of a request.
    optional = "--default-non-nullable=false"
    run(folder, "openapi-typescript", "openapi.json", "--output=api.ts", optional)
    run(folder, "tsc")


def check(folder: Path) -> None:
    """Run all steps in a folder; ``CalledProcessError`` when one fails."""
    document = call(COMMAND, "openapi", folder=folder)
    (folder / "openapi.json").write_text(document)
    generate_python(folder)
    conversations = [(sys.executable, "conversation.py")]
    if shutil.which("npm") is None:
        sys.stdout.write("skipped: linters and TypeScript, since there is no npm\n")
    else:
        plain = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
        run(folder, "npm", "install", "--loglevel=error", *plain)
        lint(folder)
        generate_typescript(folder)
        conversations.append(("node", "conversation.js"))
    database = f"sqlite:///{folder}/tracker.db"
    with running("serve", folder=folder, DATABASE_URL=database) as server:
        for conversation in conversations:
            run(folder, *conversation, server.origin)


def main() -> int:
    """Run the checks, and return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        for file in HERE.iterdir():
            if file.is_file() and not file.name.startswith("__"):
                shutil.copy(file, name)
        try:
            check(Path(name))
        except subprocess.CalledProcessError as error:
            return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
