"""The command ``vibetracker``: serves the API, for work on it or for good, and what goes with it.

What a command needs is imported when it runs: ``--help`` answers at once, and the process that
watches over ``dev`` loads no application of its own.
"""

import json
import logging
import os
import re
import signal
import socket
import sys
from argparse import ArgumentParser, ArgumentTypeError, HelpFormatter, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, override

from vibetracker import __version__, develop

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp
    from uvicorn import Config

    from vibetracker.core.config import Settings

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
DRAIN_TIME = 8
"""Seconds for the requests in progress at the end; half-sent ones would hold it open for ever."""
UNUSABLE = 2
"""The exit status when something that an operator can mend keeps a command from its work."""

DEV_DEFAULTS = {
    "database_url": "sqlite:///vibetracker.db",
    "allowed_hosts": "localhost,127.0.0.1,[::1]",
}
"""The settings of ``dev`` and ``seed`` where the environment and ``.env`` say nothing else."""

EXAMPLES = """\
examples:
  vibetracker dev                       work on it: SQLite, http://127.0.0.1:8000, reload
  vibetracker seed --count 5000         fill the database with demo data
  vibetracker serve --workers 4         serve the database that DATABASE_URL names
  vibetracker openapi > openapi.json    keep the API's description
  vibetracker new notes title:str       write a new feature

Settings come from the environment and from the file .env in the current folder.
"""


class UnusableError(Exception):
    """Something keeps the command from its work; the text tells an operator what to mend."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status."""
    options = parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except UnusableError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


def parser() -> ArgumentParser:
    """Make the parser of the command line; tools that complete it ask for it by name."""
    layout = _Layout
    command_line = ArgumentParser(
        "vibetracker",
        description="Task tracking over HTTP.",
        epilog=EXAMPLES,
        formatter_class=layout,
    )
    command_line.add_argument("--version", action="version", version=f"vibetracker {__version__}")
    commands = command_line.add_subparsers(required=True, metavar="command")

    dev = commands.add_parser(
        "dev",
        help="serve on this machine alone and restart when the code or .env changes",
        description="Serve on the loopback address and restart when the package or .env changes. "
        "Without a DATABASE_URL the data is kept in the SQLite file vibetracker.db of the current "
        "folder; without ALLOWED_HOSTS only local host names are answered.",
        epilog="examples:\n"
        "  vibetracker dev\n"
        "  DEBUG=true vibetracker dev --port 8080    and log every SQL statement\n",
        formatter_class=layout,
    )
    dev.add_argument("--port", type=_port, default=8000, help="default: %(default)s")
    dev.set_defaults(command=_dev)

    serve = commands.add_parser(
        "serve",
        help="serve with the settings as they are",
        description="Serve with the settings as they are. The API has no authentication: let only "
        "those reach the address who may read and write everything.",
        epilog="examples:\n"
        "  DATABASE_URL=sqlite:///tracker.db vibetracker serve\n"
        "  vibetracker serve --host 0.0.0.0 --workers 4    behind a proxy\n"
        "  vibetracker serve --root-path /api              behind one at its /api\n"
        "  LOG_FORMAT=json vibetracker serve               log lines for machines\n",
        formatter_class=layout,
    )
    serve.add_argument("--host", default=LOOPBACK, help="address to bind; default: %(default)s")
    serve.add_argument("--port", type=_port, default=8000, help="default: %(default)s")
    serve.add_argument("--workers", type=_count, default=1, help="processes; default: %(default)s")
    serve.add_argument(
        "--root-path",
        type=_path,
        default="",
        metavar="PATH",
        help="path under which a proxy puts the API, and which it takes off; such as /api",
    )
    serve.set_defaults(command=_serve)

    seed = commands.add_parser(
        "seed",
        help="fill the database with demo data",
        description="Fill the database with demo data of every feature that has some, by the rules "
        "that requests keep. A database that has rows already is refused. Without a DATABASE_URL "
        "it is the SQLite file vibetracker.db of the current folder, as for dev. The same seed "
        "makes the same data, its dates counted from today.",
        epilog="examples:\n"
        "  vibetracker seed                      1000 tasks, and what goes with them\n"
        "  vibetracker seed --count 50000        more of everything\n"
        "  vibetracker seed --seed 7 --append    other data, beside what is there\n",
        formatter_class=layout,
    )
    seed.add_argument(
        "--count",
        type=_count,
        default=1000,
        help="rows per feature, where it has so many; default: %(default)s",
    )
    seed.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    seed.add_argument(
        "--append", action="store_true", help="add to what the database has, and remove nothing"
    )
    seed.set_defaults(command=_seed)

    openapi = commands.add_parser(
        "openapi",
        help="print the OpenAPI document",
        description="Print the OpenAPI document as JSON, the same text for the same API.",
        epilog="example:\n  vibetracker openapi > openapi.json\n",
        formatter_class=layout,
    )
    openapi.set_defaults(command=_openapi)
    develop.add_commands(commands, _application, layout)
    return command_line


class _Layout(HelpFormatter):
    """Wraps paragraphs, and leaves examples as they are."""

    @override
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError("expected a port, 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("expected a number, 1 or more")
    return int(text)


def _path(text: str) -> str:
    if not re.fullmatch(r"(/[\w.~-]+)*/?", text, re.ASCII):
        raise ArgumentTypeError("expected a path such as /api")
    return text.rstrip("/")


def _dev(options: Namespace) -> int:
    from vibetracker.reload import Reloader

    config, listener = server_config(), _listen(LOOPBACK, options.port)
    reloader = Reloader(config, target=partial(_serve_in_child, config), sockets=[listener])
    reloader.run()
    return reloader.failure


def _serve_in_child(config: "Config", sockets: Sequence[socket.socket]) -> None:
    """Serve until told to stop; in a process of its own, so that every start reads the code."""
    from uvicorn import Server

    try:
        settings = _dev_settings()
        _check_database(_application())
    except UnusableError as error:
        sys.exit(_refuse(error))
    if "database_url" not in settings.model_fields_set:
        logger.info("no DATABASE_URL is set: the data is in %s", Path("vibetracker.db").resolve())
    _announce(sockets[0])
    Server(config).run(list(sockets))


def _serve(options: Namespace) -> int:
    from uvicorn import Server
    from uvicorn.supervisors import Multiprocess

    app = _application()
    # Before there are workers: their supervisor replaces one that fails at start for ever.
    _check_database(app)
    if options.workers > 1 and app.state.database.in_memory:
        raise UnusableError("a database in memory belongs to one process; leave --workers at 1")
    config = server_config(workers=options.workers, root_path=options.root_path)
    listener = _listen(options.host, options.port)
    _announce(listener)
    if options.workers > 1:
        Multiprocess(config, [listener]).run()
    else:
        Server(config).run([listener])
    return 0


def _seed(options: Namespace) -> int:
    _dev_settings()
    app = _application()
    from sqlalchemy.exc import SQLAlchemyError

    from vibetracker import seed
    from vibetracker.core.db.database import Database
    from vibetracker.core.db.failures import reason
    from vibetracker.core.discovery import FeatureError

    _check_database(app)
    database: Database = app.state.database
    url = database.engine.url
    try:
        demos = seed.demos(app.state.features)
        taken = seed.filled(database, demos)
        if taken and not options.append:
            raise UnusableError(
                f"the database {url.database} has rows in {', '.join(taken)} already; name another "
                "one in DATABASE_URL, or add to it with --append"
            )
        for line in seed.seed(database, demos, count=options.count, seed=options.seed):
            print(line)
    except FeatureError as error:
        raise UnusableError(error) from None
    except SQLAlchemyError as error:
        raise UnusableError(f"the database {url.database}: {reason(error)}") from None
    finally:
        database.dispose()
    return 0


def _openapi(_: Namespace) -> int:
    document = json.dumps(_application().openapi(), indent=2, sort_keys=True)
    # Let a reader such as head end it in silence.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(document)
    return 0


def _refuse(error: Exception) -> int:
    print(f"vibetracker: {' '.join(str(error).split())}", file=sys.stderr)
    return UNUSABLE


def _settings() -> "Settings":
    from pydantic import ValidationError

    from vibetracker.core.config import Settings

    try:
        return Settings()
    except ValidationError as error:
        faults = [
            f"{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise UnusableError("; ".join(faults)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f".env cannot be read: {error}") from None


def _dev_settings() -> "Settings":
    """Give the settings as they are set, and fill in those of ``dev`` for what is not."""
    settings = _settings()
    for name in DEV_DEFAULTS.keys() - settings.model_fields_set:
        os.environ[name.upper()] = DEV_DEFAULTS[name]
    return settings


def _application() -> "FastAPI":
    """Load the application that ``uvicorn vibetracker.main:app`` would serve."""
    settings = _settings()
    from vibetracker.core.discovery import FeatureError
    from vibetracker.core.logging import configure

    configure(settings)
    try:
        from vibetracker.main import app
    except FeatureError as error:
        raise UnusableError(error) from None
    return app


def _check_database(app: "FastAPI") -> None:
    """Refuse a database that waiting would not mend; a server may still be starting."""
    from sqlalchemy.exc import SQLAlchemyError

    from vibetracker.core.db.database import Database, OutdatedSchemaError
    from vibetracker.core.db.failures import is_outage, reason

    database: Database = app.state.database
    try:
        database.prepare()
    except OutdatedSchemaError as error:
        raise UnusableError(error) from None
    except SQLAlchemyError as error:
        url = database.engine.url
        if url.get_backend_name() == "sqlite" or not is_outage(error):
            raise UnusableError(f"the database {url.database}: {reason(error)}") from None
    finally:
        database.dispose()


def server_config(
    app: "ASGIApp | str" = "vibetracker.main:app", *, workers: int = 1, root_path: str = ""
) -> "Config":
    """Give the server's options, the same wherever this application is served."""
    from uvicorn import Config

    return Config(
        app,
        workers=workers,
        root_path=root_path,
        # By name: the process that watches over others loads nothing of it.
        http="vibetracker.core.http.protocol:BoundedProtocol",
        # A connection that became a websocket would be in no bounds, and nothing here serves one.
        ws="none",
        # The application configures the log, that of access as well.
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_TIME,
    )


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UnusableError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listener


def _announce(listener: socket.socket) -> None:
    host, port, *_ = listener.getsockname()
    origin = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    logger.info("serving on %s, documentation on %s/docs", origin, origin)
