"""Restarts the server of ``vibetracker dev`` when the code or ``.env`` changes."""

import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from socket import socket
from types import FrameType
from typing import override

from uvicorn import Config
from uvicorn.supervisors.basereload import BaseReload

import vibetracker

logger = logging.getLogger(__name__)

PACKAGE = Path(vibetracker.__file__).parent


class Reloader(BaseReload):
    """Serves in a child process, and replaces it when a watched file appears, changes or goes.

    It ends when the first child ends by itself; a later one may fail, and be mended while it waits.
    uvicorn's own reloaders watch whole folders: for ``.env``, also the virtual environment beside.
    """

    def __init__(
        self,
        config: Config,
        target: Callable[..., None],
        sockets: list[socket],
    ) -> None:
        super().__init__(config, target, sockets)
        self.reloader_name = "vibetracker"
        self.status = 0
        """The exit status to end with."""
        self._restarted = partial(target, is_restart=True)
        self._is_first = True
        self._waits = False
        self._seen = _stamps()

    @override
    def signal_handler(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT:
            self.status = 128 + signal.SIGINT
        super().signal_handler(sig, frame)

    @override
    def should_restart(self) -> list[Path] | None:
        self.pause()
        if self.process.exitcode is not None and not self._waits:
            if self._is_first:
                self.status = self.process.exitcode
                raise StopIteration
            logger.warning("The server has ended; the next change starts it again")
            self._waits = True
        seen, self._seen = self._seen, _stamps()
        return sorted({path for path, _ in seen.items() ^ self._seen.items()})

    @override
    def restart(self) -> None:
        self._is_first = self._waits = False
        self.target = self._restarted
        super().restart()


def _stamps() -> dict[Path, int]:
    """Return when each watched file was last changed."""
    stamps = {}
    for path in (*PACKAGE.rglob("*.py"), Path(".env").absolute()):
        with suppress(OSError):  # .env need not exist, and an editor may be replacing a file
            stamps[path] = path.stat().st_mtime_ns
    return stamps
