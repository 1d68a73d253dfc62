"""Prepares databases in many processes at once; the arguments are their number and the URLs."""

import os
import sys

from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.core.discovery import discover


def failures(url: str, processes: int) -> int:
    """Return how many of the processes failed to prepare the database."""
    waiting, go = os.pipe()
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            os.close(go)
            # Returns once the other end of the pipe is closed: all of them wait here by then.
            os.read(waiting, 1)
            Database(Settings(database_url=url, _env_file=None)).prepare()
            os._exit(0)
        children.append(child)
    os.close(go)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    discover()
    sys.exit(sum(failures(url, int(sys.argv[1])) for url in sys.argv[2:]))
