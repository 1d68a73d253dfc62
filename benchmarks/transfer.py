"""What the commands ``export`` and ``import`` take in memory and time, for each format."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

FORMATS = {"json": "json", "csv": "csv", "ics": "ics", "todotxt": "txt", "taskwarrior": "tw.json"}
IDLE = "import vibetracker.main, vibetracker.features.transfer.files"
"""The program that loads what every command loads."""
MEASURED = """\
import resource, sys
from vibetracker.cli import main
status = main(sys.argv[1:]) if len(sys.argv) > 1 else 0
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_maxrss // 1024, used.ru_utime + used.ru_stime, file=sys.stderr)
sys.exit(status)
"""


def transfer(tasks: int) -> dict[str, dict[str, float]]:
    """Export and import a database of SQLite; prints and returns MiB and seconds.

    The memory of each is printed beside that of a process that has only loaded the application: the
    difference is what the command holds at once.
    """
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        idle, _ = _measure(Path(folder), "idle.db", program=IDLE + "\n" + MEASURED)
        print(f"loaded: {idle} MiB")
        _measure(Path(folder), "from.db", "seed", "--count", str(tasks))
        for name, extension in FORMATS.items():
            file = f"tasks.{extension}"
            for command, database in (("export", "from.db"), ("import", f"{name}.db")):
                arguments = (command, file, "--format", name)
                memory, seconds = _measure(Path(folder), database, *arguments)
                results[f"{command} {name}"] = {"MiB": memory, "seconds": seconds}
                print(
                    f"{command} {name:12} {memory:4} MiB, {memory / idle:4.2f} times that, "
                    f"{tasks / seconds:6.0f} tasks per second of a processor"
                )
    return results


def _measure(
    folder: Path, database: str, *arguments: str, program: str = MEASURED
) -> tuple[int, float]:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "DATABASE_URL": f"sqlite:///{database}", "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    memory, seconds = done.stderr.splitlines()[-1].split()
    return int(memory), float(seconds)
