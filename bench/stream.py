"""Fan-out of batch events: from the verified batch in Postgres to the last of 10,000 subscribers.

make bench-stream        CONNECTIONS=10000 SECONDS=20 WAY=ws|sse WORKERS=2

Postgres, Valkey, the serving processes on one port (the API's own server, on its event loop, with
nothing but the stream) and one client that reads all sockets by epoll share the machine. A batch a
second; half a second later the one of ten seconds before becomes final, so that every subscriber
gets two events a second. Latencies count from the commit that made the batch verified, or its block
final, to the client's `recv` of that subscriber's bytes. The floor is `send` of the same bytes on
2,000 bare sockets that nobody waits at, in a process that does nothing else.
"""

import asyncio
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from starlette.applications import Starlette

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.process import LOCALHOST
from corechain.devnet.servers import ValkeyServer
from corechain.service.command import new_event_loop
from corechain.service.database import create_pool, migrate
from corechain.service.http_server import bind, http_server
from corechain_indexer.api.newest import Newest
from corechain_indexer.api.stream import BatchStream
from corechain_indexer.metrics import Metrics
from corechain_indexer.relay import EventRelay, stream_key
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.contents import BatchContents
from corechain_indexer.store.events import EventLog, EventNumbers
from corechain_indexer.store.latest import connect_cache

RESULTS = Path(__file__).parent / "results" / "stream.jsonl"
KEY, ID = stream_key(31337), b'"id":'
PING, PONG = b"\x89\x00", b"\x8a\x80\x00\x00\x00\x00"
"""Frames of RFC 6455; no event has such bytes, which are no JSON."""
FINAL_AFTER, EVENT_BYTES, FLOOR_ROUNDS = 10, 460, 5
GIVEN = (("CONNECTIONS", 10_000), ("SECONDS", 20), ("WORKERS", 2))
CONNECTIONS, SECONDS, WORKERS = (
    int(os.environ.get(f"BENCH_{name}") or value) for name, value in GIVEN
)
WAY = os.environ.get("BENCH_WAY") or "ws"
QUIET_S = 3.0
"""From the last event's commit to the end."""
PAUSE_S = 0.001
"""Of the client, when it has read all that was there: it sees what comes meanwhile a millisecond
late. Else every `send` of the server would wake it, as none does whose clients are elsewhere."""

# ------------------------------------------------------------------ the server


async def serve(database: str, redis_url: str, port: str) -> None:
    """Prints when it serves."""
    pool = create_pool(database)
    await pool
    newest = Newest(connect_cache(redis_url), EventLog(pool), KEY)
    stream = BatchStream(newest, BatchContents(pool), CONNECTIONS, Metrics())
    with bind("X_", LOCALHOST, int(port), shared=True) as listener:
        server = http_server(Starlette(), CONNECTIONS + 100, 75, streams=stream)
        listening = asyncio.create_task(stream.listen())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.until_started()
        await newest.ready.wait()
        print("serving", flush=True)
        await asyncio.wait([listening, serving], return_when=asyncio.FIRST_COMPLETED)


# ------------------------------------------------------------------ the client


def request() -> bytes:
    head = f"GET /v1/events HTTP/1.1\r\nhost: {LOCALHOST}\r\n"
    if WAY == "ws":
        key = b64encode(os.urandom(16)).decode()
        head += "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
        head += f"sec-websocket-key: {key}\r\n"
    return head.encode() + b"\r\n"


def listen(port: int) -> None:
    """Prints when all are connected; then, at the end of its input, the ids of all events with the
    times of their arrival."""
    poll, sockets = select.epoll(), {}
    for _ in range(CONNECTIONS):
        made = socket.create_connection((LOCALHOST, port))
        made.sendall(request())
        sockets[made.fileno()] = made
    for made in sockets.values():
        greeting = b""
        while b'"start"' not in greeting and b"\nid: " not in greeting:
            greeting += made.recv(4096)
        made.setblocking(False)
        poll.register(made, select.EPOLLIN)
    poll.register(sys.stdin, select.EPOLLIN)
    print("connected", flush=True)
    began, arrived, end = time.process_time(), [], float("inf")
    room = bytearray(4096)
    while time.monotonic() < end:
        found = poll.poll(QUIET_S, maxevents=512)
        for fd, _ in found:
            if fd == sys.stdin.fileno():  # all was sent: what is still under way comes soon
                poll.unregister(fd)
                end = time.monotonic() + QUIET_S
                continue
            size = sockets[fd].recv_into(room)
            assert size, "a subscriber was dropped"
            data, now = bytes(room[:size]), time.monotonic()
            arrived.append((data, now))
            if PING in data:  # who answers none loses its place
                sockets[fd].send(PONG)
        if len(found) < 512:
            time.sleep(PAUSE_S)
    spent = time.process_time() - began
    heard = [(number, at) for data, at in arrived for number in numbers(data)]
    print(json.dumps({"arrived": heard, "client_s": spent}), flush=True)


def numbers(data: bytes) -> Iterator[int]:
    """Of the events in what came."""
    at = data.find(ID)
    while at >= 0:
        yield int(data[at + len(ID) : data.index(b",", at)])
        at = data.find(ID, at + 1)


# ------------------------------------------------------------------ the batches


class Batches:
    """Verifies batches in Postgres, and passes on what happened, as the mirror's loops do."""

    def __init__(self, pool: Any, redis: Any) -> None:
        self.pool = pool
        self.relay = EventRelay(redis, EventLog(pool), KEY, 10_000)
        self.committed: list[float] = []

    async def tell(self) -> None:
        self.committed.append(time.monotonic())
        async with self.pool.acquire() as connection:
            while await EventNumbers(connection, 1_000_000).step():
                pass
        while await self.relay.step():
            pass

    async def verify(self, number: int) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "insert into batch (block_number, log_index, batch_id, commitment, block_hash, "
                "transaction) values ($1, 0, $1, $2, $3, $3)",
                number, number.to_bytes(26, "big"), number.to_bytes(32, "big"),
            )  # fmt: skip
            await connection.execute(
                "insert into batch_file (batch_id, state, leaves, reading_count, rejected_count, "
                "window_start, window_end) values ($1, 'verified', '', 16384, 3, $2, $3)",
                number, 1_700_000_000, 1_700_000_060,
            )  # fmt: skip
        await self.tell()

    async def finalise(self, number: int) -> None:
        await self.pool.execute("update chain_mark set safe = $1, final = $1", number)
        await self.tell()

    async def run(self, seconds: int) -> None:
        begun = time.monotonic()
        for number in range(1, seconds + 1):
            await asyncio.sleep(begun + number - time.monotonic())
            await self.verify(number + FINAL_AFTER)
            await asyncio.sleep(begun + number + 0.5 - time.monotonic())
            await self.finalise(number)


def floor_us() -> tuple[float, float]:
    """CPU µs of a `send` and of a `recv`, on bare sockets."""
    count, sends, receives = min(CONNECTIONS, 2_000), [], []
    with socket.create_server((LOCALHOST, 0), backlog=128) as listener:
        pairs = []
        for _ in range(count):
            client = socket.create_connection(listener.getsockname())
            pairs.append((client, listener.accept()[0]))
        for _ in range(FLOOR_ROUNDS):
            began = time.process_time()
            for _, server in pairs:
                server.send(b"x" * EVENT_BYTES)
            between = time.process_time()
            for client, _ in pairs:
                client.recv(4096)
            sends.append((between - began) / count)
            receives.append((time.process_time() - between) / count)
        for pair in pairs:
            for made in pair:
                made.close()
    return 1e6 * median(sends), 1e6 * median(receives)


@contextmanager
def child(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, __file__, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def share(values: list[float], part: float) -> float:
    return round(1000 * sorted(values)[int(len(values) * part)], 1)


def line_of(process: "subprocess.Popen[str]") -> str:
    """The next line that is not a log event."""
    assert process.stdout is not None
    while "[info" in (line := process.stdout.readline()):
        pass
    return line


def cpu_s(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (one.cpu_times() for one in processes))


async def measure(database: str, redis_url: str) -> dict[str, Any]:
    await migrate(database, MIGRATIONS)
    pool, redis = create_pool(database), connect_cache(redis_url)
    await pool
    batches = Batches(pool, redis)
    for number in range(1, FINAL_AFTER + 1):
        await batches.verify(number)
    with ExitStack() as stack, bind("X_", LOCALHOST, 0, shared=True) as reserved:
        port = str(reserved.getsockname()[1])
        processes = []
        for _ in range(WORKERS):
            server = stack.enter_context(child("serve", database, redis_url, port))
            assert line_of(server).strip() == "serving"
            processes.append(psutil.Process(server.pid))
        before = sum(process.memory_info().rss for process in processes)
        with child("listen", port) as client:
            assert (await asyncio.to_thread(line_of, client)).strip() == "connected"
            memory = sum(process.memory_info().rss for process in processes) - before
            spent = cpu_s(processes)
            batches.committed.clear()
            await batches.run(SECONDS)
            assert client.stdin is not None
            client.stdin.close()
            told = json.loads(await asyncio.to_thread(line_of, client))
            used = cpu_s(processes) - spent
    await redis.aclose()
    await pool.close()
    deliveries = CONNECTIONS * len(batches.committed)
    return result(told, batches.committed, deliveries) | {
        "server_us": round(1e6 * used / deliveries, 1),
        "client_us": round(1e6 * told["client_s"] / deliveries, 1),
        "kb_per_subscriber": round(memory / CONNECTIONS / 1000, 1),
    }


def result(told: Any, committed: list[float], deliveries: int) -> dict[str, Any]:
    arrived = told["arrived"]
    assert len(arrived) == deliveries, (len(arrived), deliveries)
    # Before the first one that is heard, there were FINAL_AFTER others.
    took = [at - committed[number - 1 - FINAL_AFTER] for number, at in arrived]
    return {"deliveries": deliveries, "p50_ms": share(took, 0.5), "p95_ms": share(took, 0.95)} | {
        "p99_ms": share(took, 0.99),
        "max_ms": share(took, 1 - 1 / len(took)),
    }


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        with asyncio.Runner(loop_factory=new_event_loop) as runner, suppress(KeyboardInterrupt):
            runner.run(serve(*sys.argv[2:]))
        return
    if sys.argv[1:2] == ["listen"]:
        listen(int(sys.argv[2]))
        return
    send_us, receive_us = floor_us()
    with (
        tempfile.TemporaryDirectory(prefix="corechain-bench-") as home,
        PostgresServer(Path(home) / "postgres") as postgres,
        ValkeyServer(Path(home) / "valkey") as valkey,
    ):
        found = asyncio.run(measure(postgres.url, valkey.url))
    found |= {"connections": CONNECTIONS, "seconds": SECONDS, "way": WAY, "workers": WORKERS}
    found |= {"floor_send_us": round(send_us, 1), "floor_receive_us": round(receive_us, 1)}
    found |= {"load": os.getloadavg()[0]}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(found) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
