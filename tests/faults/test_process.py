"""The end of the service's process under load: by SIGTERM, and by a crash."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Thread

import psycopg2
import pytest

from vibetracker.testing import PostgresServer

from .conftest import Figures
from .load import Family, Load, retry, verify
from .service import Answer, Client, Service, wait_until

pytestmark = pytest.mark.slow

GRACE = 8
"""Seconds for which the command of the Dockerfile waits for requests in flight."""


def test_sigterm_finishes_every_request_that_has_begun(
    server: PostgresServer, figures: Figures
) -> None:
    with Service(server.url()) as service:
        with Load([service.port]) as load:
            load.go_on(50)
            took = service.terminate()
        verdict = verify(load, server.url())
        figures.add("SIGTERM of the service under load", load, verdict)
        log = service.log.read_text()
    assert took < GRACE
    assert "Traceback" not in log
    assert not load.improper
    assert verdict.is_sound, verdict
    # Connections that nothing was read from are closed; requests that had an effect get a response.
    assert verdict.unasked == 0


def test_sigterm_lets_requests_that_wait_for_a_connection_finish(server: PostgresServer) -> None:
    with Service(server.url()) as service, ThreadPoolExecutor(30) as pool:
        with closing(Client(service.port)) as client:
            client.request("POST", "/tasks", {"title": "held"})
        task_id = server.sql("SELECT id FROM tasks")
        path = f"/tasks/{task_id}"

        def change(number: int) -> Answer:
            with closing(Client(service.port)) as client:
                return client.request("PATCH", path, {"description": str(number)})

        with closing(psycopg2.connect(server.url())) as other, other.cursor() as cursor:
            cursor.execute("SELECT FROM tasks FOR UPDATE")
            answers = [pool.submit(change, number) for number in range(30)]
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            wait_until(
                lambda: server.sql(waiting) == "10", within=5, what="all connections are busy"
            )
            end = Thread(target=service.terminate)
            end.start()
            wait_until(
                lambda: "Shutting down" in service.log.read_text(), within=2, what="the end begins"
            )
        end.join()
    assert {future.result().status for future in answers} == {200}
    assert server.sql("SELECT version FROM tasks") == "31"


def test_a_killed_service_has_done_each_keyed_post_once_after_all_are_retried(
    server: PostgresServer, figures: Figures
) -> None:
    with Service(server.url()) as service:
        load = Load([service.port], families=[Family() for _ in range(200)])

        def send(families: list[Family]) -> None:
            with closing(Client(service.port)) as client:
                for family in families:
                    load.did(lambda: family.create(client))  # noqa: B023 - called at once

        shares = [load.families[n::8] for n in range(8)]
        with ThreadPoolExecutor(8) as pool:
            sending = [pool.submit(send, share) for share in shares]
            load.go_on(100)
            service.kill()
        assert all(future.exception() is None for future in sending)
        verdict = verify(load, server.url())
        figures.add("SIGKILL of the service in 200 keyed POSTs", load, verdict)
        assert verdict.is_sound, verdict
        assert 100 <= load.acknowledged < 200
        first = {family.name: family.created for family in load.families if family.is_acknowledged}

        service.start()
        retry(load, service.port, all_of_them=True)
        for family in load.families:
            assert family.created is not None
            before = first.get(family.name)
            assert before is None or before.body == family.created.body
        repeated = verify(load, server.url())
        assert repeated.is_sound, repeated
    assert server.sql("SELECT count(*) FROM tasks WHERE parent_id IS NULL") == "200"
