"""A load that lasts."""

import time
from dataclasses import dataclass

import pytest

from vibetracker.core.config import Settings
from vibetracker.testing import PostgresServer

from .conftest import Figures
from .load import Load
from .service import Service
from .test_database import OURS, finish

pytestmark = pytest.mark.slow

WARM_UP = 60
"""Seconds after which nothing may grow, or a third of a soak that is shorter than three minutes."""


@dataclass
class Use:
    """The resources that a service uses."""

    memory: int = 0
    connections: int = 0
    descriptors: int = 0

    def look(self, service: Service, server: PostgresServer, *, seconds: float) -> None:
        """Record the most that it uses during that time."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.memory = max(self.memory, service.memory)
            self.connections = max(self.connections, int(server.sql(f"SELECT count(*) {OURS}")))
            self.descriptors = max(self.descriptors, service.descriptors)
            time.sleep(0.2)


def test_a_load_that_lasts_lets_neither_memory_nor_connections_grow(
    server: PostgresServer, figures: Figures, request: pytest.FixtureRequest
) -> None:
    seconds = request.config.getoption("--soak", default=60)
    warm_up = min(WARM_UP, seconds / 3)
    before, after = Use(), Use()
    # Those of the service that other tests share.
    others = int(server.sql(f"SELECT count(*) {OURS}"))
    with Service(server.url()) as service:
        with Load([service.port], clients=16, limit=seconds + 60) as load:
            # At full speed at first, which fills the pool.
            load.go_on(500, within=30)
            load.pause = 0.1
            time.sleep(warm_up)  # this is how long it may grow
            before.look(service, server, seconds=warm_up / 6)
            time.sleep(seconds - warm_up * 4 / 3)
            after.look(service, server, seconds=warm_up / 6)
        memory = (before.memory, after.memory)
        finish(f"none, mixed load for {seconds} s", load, server, service, figures, memory=memory)
    assert after.memory < before.memory * 1.03
    assert after.connections <= before.connections
    assert before.connections - others <= Settings.model_fields["pool_size"].default + 1
    # Those of clients, one of which may reconnect before its last connection has been closed.
    assert after.descriptors <= before.descriptors + 2
