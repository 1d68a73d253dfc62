"""``python -m tests.conformance``: test the running service on SQLite and on PostgreSQL."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from httpx2 import get, post
from openapi_spec_validator import validate

from vibetracker.testing import PostgresServer

FOLDER = Path(__file__).parent
CONFIGURATION = FOLDER / "schemathesis.toml"
SCHEMATHESIS, VIBETRACKER = map(Path(sys.executable).with_name, ("schemathesis", "vibetracker"))


@contextmanager
def service(database_url: str, log: Path) -> Iterator[str]:
    """Run the service as a process of its own, and yield its origin."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own arguments
            [VIBETRACKER, "serve", "--port", "0"],
            cwd=log.parent,
            env=os.environ | {"DATABASE_URL": database_url, "LOG_FORMAT": "text"},
            stdout=output,
            stderr=output,
        )
    try:
        while not (found := re.search(r"serving on (http://\S+),", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield found[1]
    finally:
        process.terminate()
        process.wait(20)


def populate(origin: str) -> None:
    """Create the projects, tasks, tags and recurrences whose ids the configuration draws."""
    for number in range(1, 21):
        post(f"{origin}/projects", json={"name": f"project {number}"}).raise_for_status()
    due = {"due_on": "2040-01-31"}
    creations = [
        {
            "op": "create",
            "data": {
                "title": f"Task {number}",
                "tags": [f"tag {number}"],
                "project_id": number,
                **due,
            },
        }
        for number in range(1, 21)
    ]
    post(f"{origin}/tasks/batch", json={"operations": creations}).raise_for_status()
    for task_id in range(1, 11):
        recurrence = {"task_id": task_id, "rule": "FREQ=MONTHLY"}
        post(f"{origin}/recurrences", json=recurrence).raise_for_status()


def test(database_url: str, folder: Path) -> bool:
    """Return whether the service on one database conforms to its document."""
    folder.mkdir()
    log = folder / "log"
    with service(database_url, log) as origin:
        document = f"{origin}/openapi.json"
        validate(get(document).json())
        populate(origin)
        run = subprocess.run(  # noqa: S603 - our own arguments
            [SCHEMATHESIS, f"--config-file={CONFIGURATION}", "run", "--checks=all", document],
            cwd=folder,
            env=os.environ | {"SCHEMATHESIS_HOOKS": str(FOLDER / "hooks.py")},
            check=False,
        )
    errors = re.findall(r"^.* ERROR .*(?:\n(?!\d{4}-).*)*", log.read_text(), re.MULTILINE)
    sys.stdout.write("\n".join(errors))
    return run.returncode == 0 and not errors


def main() -> int:
    """Test on both databases, and return the exit status."""
    with tempfile.TemporaryDirectory() as name, PostgresServer(durable=False) as postgres:
        folder = Path(name)
        results = [
            test(f"sqlite:///{folder}/tracker.db", folder / "sqlite"),
            test(postgres.url(), folder / "postgresql"),
        ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
