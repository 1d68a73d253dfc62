"""The commands ``export`` and ``import``, for the feature that has files: a module ``files``."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copymode
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from .application import lasting_database, load_application, set_dev_defaults
from .arguments import add_command
from .refusals import UnusableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from vibetracker.core.discovery import Feature

    from .arguments import Commands

type Advance = Callable[[int], None]


class Imported(Protocol):
    """The result of an import."""

    created: dict[str, int]
    skipped: list[str]


class Files(Protocol):
    """The interface of a module ``files`` of a feature."""

    FORMAT_NAMES: tuple[str, ...]
    CHECKED_AND_WRITTEN: int
    FileError: type[Exception]

    def format_of(self, path: Path) -> str | None:
        """Return the format that a name stands for by its extension, if it does."""
        ...

    def count(self, session: "Session", features: "Sequence[Feature]") -> int:
        """Count the rows that an export has; the session reads the same snapshot from then on."""
        ...

    def left_out(self, features: "Sequence[Feature]") -> list[str]:
        """List what an export does not have, each with the reason."""
        ...

    def write(
        self,
        session: "Session",
        features: "Sequence[Feature]",
        name: str,
        file: BinaryIO,
        advance: Advance,
    ) -> None:
        """Export everything; ``advance`` counts rows."""
        ...

    def read(
        self,
        session: "Session",
        features: "Sequence[Feature]",
        name: str,
        file: BinaryIO,
        advance: Advance,
    ) -> Imported:
        """Import a file in the transaction of a session; ``advance`` counts bytes."""
        ...


def add_to(commands: "Commands") -> None:
    """Add the commands."""
    export = add_command(
        commands,
        "export",
        _export,
        summary="write everything into a file",
        description="Write everything into a file, in the format that its extension or --format "
        "names. json is lossless: the file, imported into an empty database, is the same service "
        "again. Without a DATABASE_URL it is of the SQLite file vibetracker.db of the current "
        "folder, as for dev.",
        examples="examples:\n"
        "  vibetracker export all.json      a backup, or the way to a new version\n"
        "  vibetracker export tasks.csv     for a spreadsheet\n",
    )
    importing = add_command(
        commands,
        "import",
        _import,
        summary="read a file that this or another program has exported",
        description="Read a file that this or another program has exported: all of it, or "
        "nothing. What has no counterpart here is printed.",
        examples="examples:\n"
        "  vibetracker import all.json\n"
        "  vibetracker import --format taskwarrior tasks.json\n",
    )
    for command in (export, importing):
        command.add_argument("file", type=Path, metavar="FILE")
        command.add_argument("--format", help="where the extension of the file does not say it")


def _export(options: Namespace) -> int:
    path: Path = options.file
    with _at_work(options, write=False) as (files, name, session, features):
        progress = _progress("rows", files.count(session, features))
        with _written(path) as file:
            files.write(session, features, name, file, progress.advance)
        # The file may be the standard output.
        print(progress.end(), file=sys.stderr)
        for line in files.left_out(features):
            print(f"left out: {line}", file=sys.stderr)
    return 0


@contextmanager
def _written(path: Path) -> "Iterator[BinaryIO]":
    """Open a file that is replaced once all of it is written; a pipe or a device is written to."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    # Where it is a link, that stays one.
    path = Path(os.path.realpath(path))
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            if path.exists():
                copymode(path, part)
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _import(options: Namespace) -> int:
    path: Path = options.file
    with (
        _at_work(options, write=True) as (files, name, session, features),
        path.open("rb") as file,
    ):
        if not file.seekable():
            raise UnusableError(f"{path} is a pipe, and can be read only once; import a file")
        size = path.stat().st_size
        progress = _progress(path.name, files.CHECKED_AND_WRITTEN * size)
        try:
            imported = files.read(session, features, name, file, progress.advance)
            session.commit()
        except files.FileError as error:
            progress.end()
            for line in str(error).splitlines():
                print(f"{path}: {line}", file=sys.stderr)
            raise UnusableError(f"{path} is broken, and nothing of it was imported") from None
        progress.end()
        for line in imported.skipped:
            print(f"left out: {line}", file=sys.stderr)
        for collection, count in imported.created.items():
            print(f"{collection}: {count}")
    return 0


def _progress(name: str, total: int) -> Any:
    from .demo import Progress

    return Progress(name, total, sys.stderr)


@contextmanager
def _at_work(
    options: Namespace, *, write: bool
) -> "Iterator[tuple[Files, str, Session, Sequence[Feature]]]":
    set_dev_defaults()
    app = load_application()
    from sqlalchemy.exc import SQLAlchemyError

    from vibetracker.core.db.failures import reason

    features: Sequence[Feature] = app.state.features
    files = _files(features)
    name = options.format or files.format_of(options.file)
    if name not in files.FORMAT_NAMES:
        raise UnusableError(
            f"name the format of {options.file} with --format: {', '.join(files.FORMAT_NAMES)}"
        )
    database = lasting_database(app, create=write)
    try:
        with database.session(write=write) as session:
            yield files, name, session, features
    except OSError as error:
        raise UnusableError(f"{options.file}: {error.strerror}") from None
    except SQLAlchemyError as error:
        url = database.engine.url
        raise UnusableError(f"the database {url.database}: {reason(error)}") from None
    finally:
        database.dispose()


def _files(features: "Sequence[Feature]") -> Files:
    from vibetracker.core.discovery import module_of, sources

    names = {feature.name for feature in features}
    for name, source in sources().items():
        if name in names and (module := module_of(source.package, "files")) is not None:
            # A module that has what the protocol says.
            return cast("Files", module)
    raise UnusableError("there is no feature that exports and imports files")
