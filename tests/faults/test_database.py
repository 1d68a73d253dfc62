"""Faults of the database server while the service is under load."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import psycopg2
import pytest

from vibetracker.testing import PostgresServer

from .conftest import Figures
from .load import Load, retry, verify
from .service import Answer, Client, Service, wait_until

pytestmark = pytest.mark.slow

OURS = "FROM pg_stat_activity WHERE application_name = 'vibetracker'"


def finish(
    fault: str,
    load: Load,
    server: PostgresServer,
    service: Service,
    figures: Figures,
    recovered: float | None = None,
    *,
    memory: tuple[int, int] | None = None,
    liveness: float = 1,
) -> None:
    """Check what holds after every fault, and record its figures."""
    verdict = verify(load, server.url())
    figures.add(fault, load, verdict, recovered=recovered, memory=memory)
    assert verdict.is_sound, verdict
    assert not load.improper
    assert load.statuses[None] == 0, "a request was not answered"
    assert load.longest_liveness < liveness
    assert recovered is None or recovered < 2
    retry(load, service.port)
    repeated = verify(load, server.url())
    assert repeated.is_sound, repeated
    assert repeated.unasked == 0


def test_a_killed_server_loses_nothing_that_was_acknowledged(
    server: PostgresServer, service: Service, figures: Figures
) -> None:
    recovered = 0.0
    with Load([service.port]) as load:
        for _ in range(6):
            load.go_on(200)
            server.kill()
            server.start()
            recovered = max(recovered, load.go_on(10))
    finish("kill -9 of the server, times: 6", load, server, service, figures, recovered)


def test_a_stopped_server_is_a_503_at_once_until_it_is_back(
    server: PostgresServer, service: Service, figures: Figures
) -> None:
    with Load([service.port]) as load:
        load.go_on(20)
        server.stop()
        time.sleep(10)  # this is how long the fault lasts
        server.start()
        recovered = load.go_on(10)
    assert load.longest < 3
    finish("server stopped for 10 s", load, server, service, figures, recovered)


def test_terminated_connections_are_replaced(
    server: PostgresServer, service: Service, figures: Figures
) -> None:
    recovered = 0.0
    with Load([service.port]) as load:
        for _ in range(5):
            load.go_on(20)
            server.sql(f"SELECT pg_terminate_backend(pid) {OURS}")
            recovered = max(recovered, load.go_on(10))
    finish("connections terminated, times: 5", load, server, service, figures, recovered)


@contextmanager
def every_slot_taken(server: PostgresServer) -> Iterator[None]:
    """Take every connection slot of the server, those of the service too."""
    taken = [psycopg2.connect(server.url())]
    taken[0].autocommit = True
    slots = int(server.sql("SHOW max_connections"))
    try:
        with taken[0].cursor() as cursor:
            while len(taken) < slots:
                cursor.execute(f"SELECT pg_terminate_backend(pid) {OURS}")
                with suppress(psycopg2.OperationalError):
                    while len(taken) < slots:
                        taken.append(psycopg2.connect(server.url()))
        yield
    finally:
        for connection in taken:
            connection.close()


def test_a_server_without_a_free_connection_is_a_503(
    server: PostgresServer, service: Service, client: Client, figures: Figures
) -> None:
    with Load([service.port]) as load:
        load.go_on(20)
        with every_slot_taken(server):
            refused = [client.request("GET", path) for path in ("/tasks", "/health/ready")]
        recovered = load.go_on(10)
    for answer in refused:
        assert answer.status == 503
        assert answer.is_proper
        assert answer.waited < 3
    finish("all connection slots taken", load, server, service, figures, recovered)


@pytest.fixture
def dawdling(server: PostgresServer, impatient: Service) -> Iterator[None]:
    """Make the server take a minute for some changes."""
    assert impatient.answers("/tasks")
    server.sql(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;"
        "CREATE TRIGGER dawdle BEFORE UPDATE ON tasks FOR EACH ROW "
        "WHEN (NEW.title = 'dawdle') EXECUTE FUNCTION dawdle()"
    )
    yield
    server.sql("DROP FUNCTION dawdle CASCADE")


@pytest.mark.usefixtures("dawdling")
def test_a_statement_that_runs_too_long_is_a_503_and_undone(
    server: PostgresServer, impatient: Service, figures: Figures
) -> None:
    with Load([impatient.port], clients=2) as load, closing(Client(impatient.port)) as client:
        load.go_on(1)
        client.request("POST", "/tasks", {"title": "wait"})
        task_id = server.sql("SELECT id FROM tasks WHERE title = 'wait'")
        path = f"/tasks/{task_id}"
        change = {"title": "dawdle", "tags": ["late"]}
        answer = load.did(lambda: client.request("PATCH", path, change))
        assert answer is not None
        assert (answer.status, answer.is_proper) == (503, True)
        assert 1 <= answer.waited < 3
        assert client.request("GET", path).json()["title"] == "wait"
        assert server.sql("SELECT count(*) FROM tags WHERE name = 'late'") == "0"
        client.request("DELETE", f"{path}?permanent=true")
        load.go_on(5)
    finish("statement that runs too long", load, server, impatient, figures)


def test_a_row_that_stays_locked_is_a_503(
    server: PostgresServer, impatient: Service, figures: Figures
) -> None:
    with Load([impatient.port], clients=2) as load, closing(Client(impatient.port)) as client:
        load.go_on(1)
        client.request("POST", "/tasks", {"title": "held"})
        task_id = server.sql("SELECT id FROM tasks WHERE title = 'held'")
        path, change = f"/tasks/{task_id}", {"title": "let go"}
        with closing(psycopg2.connect(server.url())) as other, other.cursor() as cursor:
            cursor.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", (task_id,))
            answer = load.did(lambda: client.request("PATCH", path, change))
            assert client.request("GET", path).json()["title"] == "held"
        assert answer is not None
        assert (answer.status, answer.is_proper) == (503, True)
        assert 0.5 <= answer.waited < 2
        assert client.request("PATCH", path, change).status == 200
        client.request("DELETE", f"{path}?permanent=true")
    finish("row locked by somebody else", load, server, impatient, figures)


def test_the_victim_of_a_deadlock_is_run_again(server: PostgresServer, client: Client) -> None:
    for title in ("first", "second"):
        assert client.request("POST", "/tasks", {"title": title}).status == 201
    first, second = server.sql("SELECT id FROM tasks ORDER BY id").split()
    operations = [
        {"op": "update", "id": int(task_id), "data": {"description": "changed"}}
        for task_id in (first, second)
    ]
    lock = "UPDATE tasks SET priority = 1 WHERE id = %s"
    with (
        closing(psycopg2.connect(server.url())) as other,
        other.cursor() as cursor,
        ThreadPoolExecutor() as pool,
    ):
        # The other one looks for a deadlock later, so that the service's transaction is the victim.
        cursor.execute("SET deadlock_timeout = '20s'")
        cursor.execute(lock, (second,))
        batch = pool.submit(client.request, "POST", "/tasks/batch", {"operations": operations})
        waits = f"SELECT count(*) {OURS} AND wait_event_type = 'Lock'"
        wait_until(lambda: server.sql(waits) == "1", within=5, what="the service waits")
        cursor.execute(lock, (first,))
        other.commit()
        assert batch.result().status == 200
    assert server.sql("SELECT DISTINCT description, priority FROM tasks") == "changed|1"


def test_changes_of_the_same_tasks_in_any_order_do_not_deadlock(
    server: PostgresServer, service: Service, figures: Figures
) -> None:
    load = Load([service.port])
    names = [f"tag {n}" for n in range(12)]
    with closing(Client(service.port)) as client:
        for n in range(6):
            client.request("POST", "/tasks", {"title": f"shared {n}"})
    ids = [int(line) for line in server.sql("SELECT id FROM tasks").split()]

    def shuffle(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - spreads load
        with closing(Client(service.port)) as client:
            for turn in range(6):
                operations = [
                    {
                        "op": "update",
                        "id": task_id,
                        "data": {"tags": chance.sample(names, 6), "title": f"{seed} {turn}"},
                    }
                    for task_id in chance.sample(ids, len(ids))
                ]
                body = {"operations": operations}
                load.did(lambda: client.request("POST", "/tasks/batch", body))  # noqa: B023 - called at once

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(shuffle, range(8)))
    figures.add("batches that cross, 48", load, verify(load, server.url()))
    assert load.statuses == {200: 48}
    assert server.sql("SELECT count(DISTINCT title) FROM tasks") == "1"


@pytest.mark.parametrize(("timeouts", "seconds"), [("short", 3), ("default", 20)])
def test_a_frozen_server_leaves_no_request_without_a_response(
    timeouts: str,
    seconds: float,
    server: PostgresServer,
    service: Service,
    impatient: Service,
    figures: Figures,
) -> None:
    service = impatient if timeouts == "short" else service
    readiness: list[Answer] = []
    with Load([service.port]) as load, closing(Client(service.port)) as client:
        load.go_on(20)
        server.freeze()
        try:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                readiness.append(client.request("GET", "/health/ready"))
        finally:
            server.thaw()
        recovered = load.go_on(10)
    assert {answer.status for answer in readiness[1:]} == {503}
    assert max(answer.waited for answer in readiness) < 2
    finish(
        f"server frozen for {seconds} s, {timeouts} timeouts",
        load,
        server,
        service,
        figures,
        recovered,
    )


@contextmanager
def read_only(server: PostgresServer) -> Iterator[None]:
    """Let the server refuse writes by default."""
    try:
        server.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        server.sql("SELECT pg_reload_conf()")
        yield
    finally:
        server.sql("ALTER SYSTEM RESET default_transaction_read_only")
        server.sql("SELECT pg_reload_conf()")


def test_a_read_only_database_refuses_writes_and_serves_reads(
    server: PostgresServer, service: Service, client: Client, figures: Figures
) -> None:
    # A new one each time, since a name that is taken is refused before anything is written.
    names = ({"name": f"late {number}"} for number in count())
    with Load([service.port]) as load:
        load.go_on(20)
        with read_only(server):
            wait_until(
                lambda: client.request("POST", "/tags", next(names)).status == 503,
                within=10,
                what="a write is refused",
            )
            assert client.request("GET", "/tasks").status == 200
        recovered = load.go_on(10)
    server.sql("DELETE FROM tags WHERE name LIKE 'late %'")
    finish("read-only database", load, server, service, figures, recovered)


@contextmanager
def small_disk(server: PostgresServer) -> Iterator[Path]:
    """Keep the tables of a server on a file system of 32 MB; its log stays where it was."""
    folder = server.folder / "small"
    folder.mkdir()
    mounted = subprocess.run(  # noqa: S603 - our own arguments
        ["/usr/bin/env", "mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        tables = folder / "tables"
        tables.mkdir()
        shutil.chown(tables, server.user or os.geteuid())
        server.sql(f"CREATE TABLESPACE small LOCATION '{tables}'", database="postgres")
        server.sql("ALTER DATABASE vibetracker SET TABLESPACE small", database="postgres")
        yield folder
    finally:
        server.kill()
        subprocess.run(["/usr/bin/env", "umount", folder], check=True)  # noqa: S603 - likewise


@pytest.mark.usefixtures("embedded_postgres")
def test_a_full_disk_refuses_writes_and_loses_nothing(figures: Figures) -> None:
    with (
        PostgresServer() as server,
        small_disk(server) as disk,
        Service(server.url()) as service,
        closing(Client(service.port)) as client,
    ):
        with Load([service.port]) as load:
            load.go_on(50)
            ballast = disk / "ballast"
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            wait_until(lambda: load.statuses[503] >= 20, within=20, what="writes are refused")
            assert client.request("GET", "/tasks").status == 200
            assert client.request("GET", "/health/ready").status == 200
            ballast.unlink()
            recovered = load.go_on(50)
        assert "No space left on device" in service.log.read_text()
        finish("disk full", load, server, service, figures, recovered)
