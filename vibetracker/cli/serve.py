"""The commands that serve: ``dev`` for development, ``serve`` for production."""

import logging
import signal
import socket
import sys
import traceback
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .application import check_database, load_application, set_dev_defaults
from .arguments import add_command, add_port, count, path
from .refusals import UnusableError, refusal_of, refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn import Config

    from .arguments import Commands

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
DRAIN_TIME = 8
"""Seconds for the requests in progress at the end; half-sent ones would hold it open for ever."""


def add_to(commands: "Commands") -> None:
    """Add the commands."""
    dev = add_command(
        commands,
        "dev",
        _dev,
        summary="serve on this machine alone and restart when the code or .env changes",
        description="Serve on the loopback address and restart when the package or .env changes. "
        "Without a DATABASE_URL the data is kept in the SQLite file vibetracker.db of the current "
        "folder; without ALLOWED_HOSTS only local host names are answered. While the code does "
        "not load, every request is answered with the reason.",
        examples="examples:\n"
        "  vibetracker dev\n"
        "  DEBUG=true vibetracker dev --port 8080    and log every SQL statement\n",
    )
    add_port(dev)
    serve = add_command(
        commands,
        "serve",
        _serve,
        summary="serve with the settings as they are",
        description="Serve with the settings as they are. The API has no authentication: let only "
        "those reach the address who may read and write everything.",
        examples="examples:\n"
        "  DATABASE_URL=sqlite:///tracker.db vibetracker serve\n"
        "  vibetracker serve --host 0.0.0.0 --workers 4    behind a proxy\n"
        "  vibetracker serve --root-path /api              behind one at its /api\n"
        "  LOG_FORMAT=json vibetracker serve               log lines for machines\n",
    )
    serve.add_argument("--host", default=LOOPBACK, help="address to bind; default: %(default)s")
    add_port(serve)
    serve.add_argument("--workers", type=count, default=1, help="processes; default: %(default)s")
    serve.add_argument(
        "--root-path",
        type=path,
        default="",
        metavar="PATH",
        help="path under which a proxy puts the API, and which it takes off; such as /api",
    )


def _dev(options: Namespace) -> int:
    from .reload import Reloader

    config, listener = server_config(), _listen(LOOPBACK, options.port)
    reloader = Reloader(config, target=partial(_serve_in_child, config), sockets=[listener])
    reloader.run()
    return reloader.status


def _serve_in_child(
    config: "Config", sockets: Sequence[socket.socket], *, is_restart: bool = False
) -> None:
    """Serve until told to stop; in a process of its own, so that every start reads the code.

    What an operator has to mend ends only the first start: later it may be a file that is being
    edited.
    """
    from uvicorn import Server

    from .fallback import fallback_config

    try:
        settings = set_dev_defaults()
        check_database(load_application())
        if "database_url" not in settings.model_fields_set:
            place = Path("vibetracker.db").resolve()
            logger.info("no DATABASE_URL is set: the data is in %s", place)
        _announce(sockets[0])
        Server(config).run(list(sockets))
    except SystemExit:
        reason = "the application does not start; the log says why"
    except UnusableError as error:
        status = refuse(str(error))
        if not is_restart:
            sys.exit(status)
        reason = str(error)
    except Exception as error:
        reason = _reason(error)
    else:
        return
    logger.warning(
        "serving on %s, where each request is told so; the next change starts it again",
        _origin(sockets[0]),
    )
    Server(fallback_config(reason)).run(list(sockets))


def _reason(error: Exception) -> str:
    """Print why the code does not load, and return it."""
    # The core may be what does not load.
    with suppress(Exception):
        reason = refusal_of(error)
        refuse(reason)
        return reason
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def _serve(options: Namespace) -> int:
    from uvicorn import Server

    from .servers import Workers

    app = load_application()
    # Before there are workers: their supervisor replaces one that fails at start for ever.
    check_database(app)
    if options.workers > 1 and app.state.database.in_memory:
        raise UnusableError("a database in memory belongs to one process; leave --workers at 1")
    config = server_config(workers=options.workers, root_path=options.root_path)
    listener = _listen(options.host, options.port)
    _announce(listener)
    if options.workers > 1:
        workers = Workers(config, [listener])
        workers.run()
        return 128 + signal.SIGINT if workers.is_interrupted else 0
    Server(config).run([listener])
    return 0


def server_config(
    app: "ASGIApp | str" = "vibetracker.main:app", *, workers: int = 1, root_path: str = ""
) -> "Config":
    """Return the server's options, the same wherever this application is served."""
    from .servers import ServerConfig

    return ServerConfig(
        app,
        workers=workers,
        root_path=root_path,
        # By name: the supervising process does not import it.
        http="vibetracker.cli.protocol:BoundedProtocol",
        # The limits would not hold for a WebSocket, and no operation accepts one.
        ws="none",
        # The application configures the log, that of access as well.
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_TIME,
    )


def _listen(host: str, number: int) -> socket.socket:
    if not host:
        raise UnusableError("--host is empty; 0.0.0.0 stands for every address of this machine")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, number))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UnusableError(f"cannot listen on {host} port {number}: {error.strerror}") from None
    return listener


def _announce(listener: socket.socket) -> None:
    origin = _origin(listener)
    logger.info("serving on %s, documentation on %s/docs", origin, origin)


def _origin(listener: socket.socket) -> str:
    host, number, *_ = listener.getsockname()
    return f"http://[{host}]:{number}" if ":" in host else f"http://{host}:{number}"
