"""uvicorn as the commands use it: interrupted twice, it ends without a traceback."""

from typing import override

from uvicorn import Config
from uvicorn.lifespan.on import LifespanOn, LifespanReceiveMessage, LifespanSendMessage
from uvicorn.supervisors import Multiprocess


class ServerConfig(Config):
    """The options of a server whose lifespan may be cancelled."""

    @override
    def load(self) -> None:
        super().load()
        self.lifespan_class = Lifespan


class Lifespan(LifespanOn):
    """The application's lifespan, which ends in silence when the server cancels it.

    A second SIGINT makes the server cancel it, which uvicorn would log as a failure.
    """

    _is_told = False
    """Whether the application was told to shut down."""

    @override
    async def receive(self) -> LifespanReceiveMessage:
        message = await super().receive()
        self._is_told = message["type"] == "lifespan.shutdown"
        return message

    @override
    async def send(self, message: LifespanSendMessage) -> None:
        if message["type"] == "lifespan.shutdown.failed" and not self._is_told:
            message = {"type": "lifespan.shutdown.failed", "message": ""}
        await super().send(message)


class Workers(Multiprocess):
    """Several processes that serve the same address."""

    is_interrupted = False
    """Whether Ctrl-C has ended them."""

    @override
    def handle_int(self) -> None:
        self.is_interrupted = True
        super().handle_int()
