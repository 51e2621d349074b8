"""Several processes answer at one port: real ones, one of which is killed under requests."""

import asyncio
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from support.processes import eventually, family, survivors, until
from websockets.sync.client import ClientConnection, connect

from corechain import AsyncClient, BatchEvent, Deployment
from corechain.devnet.nginx import Behind, NginxServer
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.process import free_port
from corechain.devnet.service import Service, clean_environment, probe
from corechain.service.expositions import merged
from indexer.event_books import opened

WORKERS = 2
PAUSE_S = 0.02
"""Between questions: as fast as they can be asked, they took the CPU from the worker's start."""


def settings_for(anvil: str, deployment: Path, database: str, redis: str) -> dict[str, str]:
    return {
        "INDEXER_RPC_URL": anvil,
        "INDEXER_DEPLOYMENT": str(deployment),
        "INDEXER_DATABASE_URL": database,
        "INDEXER_REDIS_URL": redis,
        "INDEXER_DATA_URLS": "file:///nowhere/{commitment}",
        "INDEXER_API_WORKERS": str(WORKERS),
    }


@dataclass
class Site:
    """An indexer with workers, and where its supervisor is operated."""

    service: Service
    ops_port: int
    settings: dict[str, str]

    def workers(self) -> dict[str, psutil.Process]:
        """Those that answer for themselves, by number."""
        found = {}
        for process in family(self.service.pid):
            try:
                words = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if "--number" in words:
                found[words[words.index("--number") + 1]] = process
        return found

    def samples(self, pattern: str) -> dict[str, float]:
        """A metric of each worker, by number."""
        _, text = probe(self.ops_port, "/metrics", 30)
        return {number: float(value) for number, value in re.findall(pattern, text)}

    def answering(self) -> set[str]:
        return set(self.samples(r'corechain_native\{worker="(\d)"\} (\S+)'))

    def subscribers(self) -> dict[str, float]:
        return self.samples(r'corechain_subscribers\{worker="(\d)"\} (\S+)')

    async def verified(self, *numbers: int) -> list[int]:
        """Batches of these numbers, as mirror and verifier leave them; the ids of all events."""
        urls = self.settings["INDEXER_DATABASE_URL"], self.settings["INDEXER_REDIS_URL"]
        async with opened(*urls) as books:
            for number in numbers:
                await books.verify(number)
            return [event.id for event in await books.events()]

    def answered(self) -> dict[str, float]:
        known = r'corechain_requests_total\{path="/v1/status",status="200",worker="(\d)"\} (\S+)'
        return self.samples(known)


@pytest.fixture(scope="module")
def site(
    anvil: str,
    deployment: Path,
    postgres_server: PostgresServer,
    valkey: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """One for all tests: three processes take a while to start."""
    ports = free_port(), free_port()
    database = postgres_server.create_database("workers")
    settings = settings_for(anvil, deployment, database, valkey) | {
        "INDEXER_HTTP_PORT": str(ports[0]),
        "INDEXER_OPS_PORT": str(ports[1]),
    }
    folder, arguments = tmp_path_factory.mktemp("workers"), ["indexer", "run"]
    with Service("indexer", folder, ports[0], arguments, settings) as service:
        made = Site(service, ports[1], settings)
        assert eventually(lambda: made.answering() == {"0", "1"}), service.tail()
        yield made
        everyone = family(service.pid)
        service.stop()
        # At SIGTERM the supervisor ends last.
        assert survivors(everyone) == []
    postgres_server.drop_database("workers")


@dataclass
class Asker:
    """Asks on a new connection each time, and counts."""

    port: int
    good: int = 0
    bad: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                status, body = probe(self.port, "/v1/status", 60)
            except OSError:
                continue  # on its way into the worker that was killed
            if status == http.client.OK:
                self.good += 1
            else:
                self.bad.append(body)
            time.sleep(PAUSE_S)


def test_a_worker_that_is_killed_comes_back_and_the_others_answer_meanwhile(site: Site) -> None:
    asker = Asker(site.service.port)
    thread = threading.Thread(target=asker.run)
    thread.start()
    try:
        assert eventually(lambda: set(site.answered()) == {"0", "1"})
        before = site.workers()
        os.kill(before["0"].pid, signal.SIGKILL)
        other, good = site.answered()["1"], asker.good
        assert eventually(lambda: site.answered()["1"] > other + 10 and asker.good > good + 10)
        # Counts of its own: the new one begins at nothing, and takes its share again.
        assert eventually(lambda: set(site.answered()) == {"0", "1"})
    finally:
        asker.stop.set()
        thread.join()
    after = site.workers()
    assert after["0"].pid != before["0"].pid
    assert after["1"].pid == before["1"].pid
    assert asker.bad == []
    assert probe(site.ops_port, "/ready", 30)[0] == http.client.OK


def test_subscribers_are_served_by_every_worker_and_metrics_are_not_public(site: Site) -> None:
    subscribers: list[ClientConnection] = []

    def every_worker_has_one() -> bool:
        url = f"ws://127.0.0.1:{site.service.port}/v1/batches/stream"
        subscribers.append(connect(url, open_timeout=60))
        return all(site.subscribers().get(number, 0) > 0 for number in ("0", "1"))

    try:
        assert eventually(every_worker_has_one)
    finally:
        for subscriber in subscribers:
            subscriber.close()
    assert probe(site.service.port, "/metrics", 30)[0] == http.client.NOT_FOUND
    assert probe(site.service.port, "/health", 30)[0] == http.client.OK


async def test_a_stream_behind_nginx_goes_on_without_a_gap_when_its_worker_is_killed(
    site: Site, tmp_path: Path
) -> None:
    heard: list[BatchEvent] = []

    async def listen(client: AsyncClient) -> None:
        async for event in client.stream():
            heard.append(event)

    with NginxServer(tmp_path, Behind((), (site.service.port,))) as balancer:
        url = balancer.api_url
        async with AsyncClient(url, url, url, Deployment(31337, {})) as client:
            listening = asyncio.create_task(listen(client))
            await until(lambda: sum(site.subscribers().values()) == 1)
            await site.verified(1, 2, 3)
            (serving,) = (number for number, count in site.subscribers().items() if count)
            await until(lambda: len(heard) >= 3)
            os.kill(site.workers()[serving].pid, signal.SIGKILL)
            await site.verified(4, 5, 6)
            await until(lambda: {event.batch_id for event in heard} == {1, 2, 3, 4, 5, 6})
            listening.cancel()
    known = await site.verified()
    assert [event.id for event in heard] == known[: len(heard)]


def test_workers_end_with_a_supervisor_that_was_killed(site: Site) -> None:
    workers = list(site.workers().values())
    assert len(workers) == WORKERS
    os.kill(site.service.pid, signal.SIGKILL)
    assert survivors(workers) == []
    # For the other tests, in whatever order they come.
    site.service.kill()
    site.service.start()
    assert eventually(lambda: site.answering() == {"0", "1"})


def test_several_workers_without_a_port_for_their_metrics_are_a_wrong_setting(
    anvil: str, deployment: Path, tmp_path: Path
) -> None:
    settings = settings_for(anvil, deployment, "postgresql://x@127.0.0.1/x", "redis://127.0.0.1")
    done = subprocess.run(
        [sys.executable, "-m", "corechain.cli", "indexer", "run"],
        env=clean_environment() | settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "INDEXER_OPS_PORT" in done.stderr


def test_metrics_of_workers_are_one_text_with_one_head_a_family() -> None:
    head = "# HELP a_total Things\n# TYPE a_total counter\n"
    first, second = (f'{head}a_total{{path="/x"}} {n}.0\n'.encode() for n in (1, 2))
    lines = merged(b"# HELP b Own\n# TYPE b gauge\nb 7.0\n", {0: first, 1: second}).decode()
    assert lines.count("# TYPE a_total counter") == 1
    assert 'a_total{path="/x",worker="0"} 1.0' in lines
    assert 'a_total{path="/x",worker="1"} 2.0' in lines
    assert "\nb 7.0" in lines
