"""Many streams on two workers see every write, also when the workers are killed."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.processes import running

STREAMS = 50
WRITES = 1000
WRITERS = 8


class Follower:
    """A client that reconnects with the ``Last-Event-ID`` when its stream ends."""

    def __init__(self, client: httpx2.AsyncClient, begun: dict[str, float], cursor: str) -> None:
        self.client = client
        self.begun = begun
        self.seen: list[int] = []
        self.delays: list[float] = []
        self.last_id = cursor
        self.breaks = 0

    async def follow(self, count: int) -> None:
        """Read until so many changes have come."""
        while len(self.seen) < count:
            with suppress(httpx2.HTTPError):
                await self._read(count)
            self.breaks += len(self.seen) < count

    async def _read(self, count: int) -> None:
        headers = {"Last-Event-ID": self.last_id}
        path = "/changes/stream?resource=tasks"
        async with self.client.stream("GET", path, headers=headers) as answer:
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "data":
                    self._take(json.loads(value))
                elif name == "id":
                    self.last_id = value
                    if len(self.seen) == count:
                        return

    def _take(self, change: dict[str, Any]) -> None:
        self.seen.append(change["id"])
        if begun := self.begun.get(change["changes"]["title"][1]):
            self.delays.append(time.monotonic() - begun)


async def follow_and_write(origin: str, killed: list[int]) -> tuple[list[Follower], set[int]]:
    """Let clients follow while others write, and kill workers midway."""
    begun: dict[str, float] = {}
    limits = httpx2.Limits(max_connections=STREAMS + WRITERS)
    async with httpx2.AsyncClient(base_url=origin, timeout=30, limits=limits) as client:
        # Another test may have left rows in the database, and the same keys.
        now = (await client.get("/changes?after=now")).json()["next_cursor"]
        followers = [Follower(client, begun, now) for _ in range(STREAMS)]
        created: set[int] = set()

        async def write(number: int) -> None:
            for index in range(number, WRITES, WRITERS):
                if index == WRITES // 2:
                    for pid in killed:
                        os.kill(pid, signal.SIGKILL)
                title, key = f"task {index}", {"Idempotency-Key": f"{now}-{index}"}
                while True:
                    begun[title] = time.monotonic()
                    try:
                        answer = await client.post("/tasks", json={"title": title}, headers=key)
                    except httpx2.HTTPError:
                        continue
                    if answer.status_code == 201:
                        created.add(answer.json()["id"])
                        break

        async with asyncio.timeout(100):
            following = [asyncio.create_task(it.follow(WRITES)) for it in followers]
            await asyncio.gather(*map(write, range(WRITERS)))
            await asyncio.gather(*following)
        return followers, created


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_each_of_many_streams_sees_every_write(
    postgres_url: str,
    tmp_path: Path,
    kill: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    settings = {"DATABASE_URL": postgres_url, "POOL_TIMEOUT": "10"}
    with running("serve", "--workers", "2", folder=tmp_path, **settings) as server:
        # The pipe has to hold the whole log, which nobody reads meanwhile: a worker would block.
        assert server.process.stderr is not None
        fcntl.fcntl(server.process.stderr, fcntl.F_SETPIPE_SZ, 2**20)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if httpx2.get(f"{server.origin}/health/ready", timeout=30).is_success:
                break
        found = subprocess.run(  # noqa: S603 - our own arguments
            ["/usr/bin/env", "pgrep", "-P", str(server.process.pid), "-f", "spawn_main"],
            check=True,
            capture_output=True,
            text=True,
        )
        workers = [int(pid) for pid in found.stdout.split()] if kill else []
        followers, created = asyncio.run(follow_and_write(server.origin, workers))
    assert len(created) == WRITES
    for follower in followers:
        assert len(follower.seen) == len(set(follower.seen)) == WRITES
        assert follower.seen == followers[0].seen
    delays = sorted(delay for follower in followers for delay in follower.delays)
    breaks = sum(follower.breaks for follower in followers)
    assert (breaks > 0) == kill
    print(  # noqa: T201 - a figure to read
        f"p50 {delays[len(delays) // 2]:.3f} s, p99 {delays[len(delays) * 99 // 100]:.3f} s, "
        f"{breaks} broken streams"
    )
