"""The end of the service: for ``DRAIN_DELAY`` it takes requests, and is not ready for more."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

from fastapi import FastAPI


@asynccontextmanager
async def draining(app: FastAPI) -> AsyncIterator[None]:
    """Let the server know of a SIGTERM later, so that load balancers look elsewhere first.

    A second one reaches it at once.
    """
    delay: float = app.state.settings.drain_delay
    app.state.is_draining = False
    before = signal.getsignal(signal.SIGTERM)
    # Tests and embedded servers run in other threads, which get no signals.
    if not (delay and callable(before) and threading.current_thread() is threading.main_thread()):
        yield
        return
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        if app.state.is_draining:
            before(number, frame)
            return
        app.state.is_draining = True
        loop.call_soon_threadsafe(loop.call_later, delay, before, number, None)

    signal.signal(signal.SIGTERM, drain)
    yield
    signal.signal(signal.SIGTERM, before)
