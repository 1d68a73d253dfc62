"""A PgBouncer between the service and its database."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import psycopg2

from vibetracker.testing import PostgresServer, free_port

from .service import wait_until

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
CONFIGURATION = """
[databases]
vibetracker = host=127.0.0.1 port={server} user=pooled
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
server_login_retry = 1
query_wait_timeout = 2
{more}
"""
POOLED = """
DO $$ BEGIN CREATE ROLE pooled LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object THEN END $$;
ALTER ROLE pooled SET TimeZone = 'Asia/Kathmandu';
ALTER ROLE pooled SET DateStyle = 'SQL, DMY';
ALTER ROLE pooled SET IntervalStyle = 'sql_standard';
ALTER ROLE pooled SET default_transaction_isolation = 'serializable';
"""
"""The role of the pooler's sessions: each of its settings differs from the service's."""


class PgBouncer:
    """A PgBouncer that shares four sessions of a server among all transactions.

    ``more`` is added to its configuration. By default it refuses ``options``.
    """

    def __init__(self, server: PostgresServer, more: str = "") -> None:
        assert PGBOUNCER is not None
        self._server = server
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="vibetracker-pgbouncer-"))
        file = self._folder / "pgbouncer.ini"
        file.write_text(CONFIGURATION.format(server=server.port, port=self.port, more=more))
        # Like PostgreSQL it refuses to run as root.
        user = "nobody" if os.geteuid() == 0 else None
        if user:
            shutil.chown(self._folder, user)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments
                [PGBOUNCER, file], user=user, cwd=self._folder, stdout=log, stderr=log
            )

    @property
    def url(self) -> str:
        """The URL of the database behind it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/vibetracker"

    def __enter__(self) -> Self:
        """Wait until it accepts connections."""
        self._server.sql(POOLED)
        wait_until(self._is_open, within=10, what="PgBouncer serves")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_open(self) -> bool:
        try:
            psycopg2.connect(self.url).close()
        except psycopg2.OperationalError:
            return False
        return True
