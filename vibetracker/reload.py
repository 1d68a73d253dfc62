"""Restarts the server of ``vibetracker dev`` when the code or ``.env`` changes."""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import override

from uvicorn import Config
from uvicorn.supervisors.basereload import BaseReload

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent


class Reloader(BaseReload):
    """Serves in a child process, and replaces it when a watched file appears, changes or goes.

    It ends when the first child ends by itself; a later one may fail, and be mended while it waits.
    uvicorn's own reloaders watch whole folders: for ``.env``, also the virtual environment beside.
    """

    def __init__(
        self,
        config: Config,
        target: Callable[[list[socket] | None], None],
        sockets: list[socket],
    ) -> None:
        super().__init__(config, target, sockets)
        self.reloader_name = "vibetracker"
        self.failure = 0
        self._is_first = True
        self._waits = False
        self._seen = _stamps()

    @override
    def should_restart(self) -> list[Path] | None:
        self.pause()
        if self.process.exitcode is not None and not self._waits:
            if self._is_first:
                self.failure = self.process.exitcode
                raise StopIteration
            logger.warning("The server has ended; the next change starts it again")
            self._waits = True
        seen, self._seen = self._seen, _stamps()
        return sorted({path for path, _ in seen.items() ^ self._seen.items()})

    @override
    def restart(self) -> None:
        self._is_first = self._waits = False
        super().restart()


def _stamps() -> dict[Path, int]:
    """Tell when each watched file was last changed."""
    stamps = {}
    for path in (*PACKAGE.rglob("*.py"), Path(".env").absolute()):
        with suppress(OSError):  # .env need not exist, and an editor may be replacing a file
            stamps[path] = path.stat().st_mtime_ns
    return stamps
