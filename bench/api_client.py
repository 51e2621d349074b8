"""The client of bench/api.py: many kept connections, requests at due times, one thread and epoll.

python bench/api_client.py HOST PORT PLAN

PLAN is a JSON file {connections, rate, seconds, requests: [[kind, target], …]}. Prints `connected`,
waits for a line on its standard input, sends, and prints one line of JSON.

Open loop: a request is due when its time has come, whether or not the ones before have been
answered, and its latency counts from then. So what a busy client sends late counts too.
"""

import json
import resource
import select
import socket
import sys
import time
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corechain.open_files import allow_open_files

SETTLE_S = 20.0
"""After the last request is sent; what has no answer by then is an error."""
POLL_S = 0.002
BUFFER = 1 << 20
GREETING = "/health"
"""What a balancer asks: it touches no store, so nothing is warm that a query needs."""
GREETED_AT_ONCE = 256
HEAD_END, LENGTH = b"\r\n\r\n", b"content-length: "


@dataclass
class Client:
    """Sends the plan's requests over its connections."""

    host: str
    port: int
    requests: list[tuple[str, bytes]]
    idle: deque[socket.socket] = field(default_factory=deque)
    sockets: dict[int, socket.socket] = field(default_factory=dict)
    sent: dict[int, tuple[float, str]] = field(default_factory=dict)
    parts: dict[int, bytearray] = field(default_factory=dict)
    latencies: "dict[str, array[float]]" = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    late: "array[float]" = field(default_factory=lambda: array("d"))
    _epoll: Any = field(default_factory=select.epoll)
    _buffer: bytearray = field(default_factory=lambda: bytearray(BUFFER))

    def connect(self, count: int) -> None:
        for _ in range(count):
            one = socket.create_connection((self.host, self.port))
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[one.fileno()] = one
            self.idle.append(one)
            self._epoll.register(one.fileno(), select.EPOLLIN)

    def greet(self) -> None:
        """A request on each connection: from then on it is one that is kept alive, and accepted."""
        plan, self.requests = (
            self.requests,
            [("greeting", _request(self.host, self.port, GREETING))],
        )
        for number in range(len(self.sockets)):
            while len(self.sent) >= GREETED_AT_ONCE:
                self._receive(POLL_S)
            self._send(time.perf_counter(), number)
        while self.sent:
            self._receive(POLL_S)
        self.requests = plan
        self.latencies.clear()
        self.statuses.clear()
        del self.late[:]

    def run(self, rate: float, seconds: float) -> float:
        """Seconds from the first to the last request."""
        began, number, total = time.perf_counter(), 0, round(rate * seconds)
        while number < total:
            now = time.perf_counter()
            due = min(total, int((now - began) * rate) + 1)
            while number < due and self.idle:
                self._send(began + number / rate, number)
                number += 1
            self._receive(max(0.0, began + number / rate - time.perf_counter()))
        sending = time.perf_counter() - began
        until = time.perf_counter() + SETTLE_S
        while self.sent and time.perf_counter() < until:
            self._receive(POLL_S)
        self.statuses["unanswered"] += len(self.sent)
        return sending

    def _send(self, due: float, number: int) -> None:
        connection = self.idle.popleft()
        kind, request = self.requests[number % len(self.requests)]
        self.late.append(time.perf_counter() - due)
        self.sent[connection.fileno()] = due, kind
        try:
            connection.send(request)
        except OSError:
            self._lost(connection.fileno())

    def _receive(self, wait_s: float) -> None:
        for descriptor, _ in self._epoll.poll(min(wait_s, POLL_S)):
            try:
                count = self.sockets[descriptor].recv_into(self._buffer)
            except BlockingIOError:
                continue
            except OSError:
                count = 0
            if count == 0:
                self._lost(descriptor)
            elif descriptor in self.parts:
                self.parts[descriptor] += self._buffer[:count]
                if _is_whole(self.parts[descriptor], len(self.parts[descriptor])):
                    self._answered(descriptor, self.parts.pop(descriptor))
            elif _is_whole(self._buffer, count):
                self._answered(descriptor, self._buffer)
            else:
                self.parts[descriptor] = bytearray(self._buffer[:count])

    def _answered(self, descriptor: int, answer: bytearray) -> None:
        due, kind = self.sent.pop(descriptor)
        status = answer[9:12].decode()
        self.statuses[status] += 1
        if status == "200":
            self.latencies.setdefault(kind, array("d")).append(time.perf_counter() - due)
        self.idle.append(self.sockets[descriptor])

    def _lost(self, descriptor: int) -> None:
        """Hung up on; a new connection takes its place, as a client would open one."""
        self.statuses["lost"] += self.sent.pop(descriptor, None) is not None
        self.parts.pop(descriptor, None)
        gone = self.sockets.pop(descriptor)
        self._epoll.unregister(descriptor)
        if gone in self.idle:
            self.idle.remove(gone)
        gone.close()
        try:
            self.connect(1)
        except OSError:
            self.statuses["refused"] += 1


def _is_whole(data: bytearray, count: int) -> bool:
    end = data.find(HEAD_END, 0, count)
    if end < 0:
        return False
    at = data.find(LENGTH, 0, end)
    length = int(data[at + len(LENGTH) : data.find(b"\r", at)])
    return count >= end + len(HEAD_END) + length


def percentile(values: list[float], share: float) -> float:
    """In milliseconds; of no values, 0."""
    return round(1000 * values[min(len(values) - 1, int(len(values) * share))], 2) if values else 0


def _request(host: str, port: int, target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()


def _cpu_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def summary(client: Client, seconds: float, cpu_s: float) -> dict[str, Any]:
    every = sorted(value for values in client.latencies.values() for value in values)
    good = client.statuses.pop("200", 0)
    kinds = {
        kind: [percentile(sorted(values), share) for share in (0.5, 0.95, 0.99)]
        for kind, values in sorted(client.latencies.items())
    }
    return {
        "answered": good,
        "requests_per_s": round(good / seconds, 1),
        "p50_ms": percentile(every, 0.5),
        "p95_ms": percentile(every, 0.95),
        "p99_ms": percentile(every, 0.99),
        "longest_ms": percentile(every, 1),
        "errors": sum(client.statuses.values()),
        "statuses": {name: count for name, count in client.statuses.items() if count},
        "sent_late_p95_ms": percentile(sorted(client.late), 0.95),
        "client_us": round(cpu_s / max(1, good) * 1e6, 1),
        "by_kind_ms": kinds,
    }


def main() -> None:
    host, port, file = sys.argv[1:]
    plan = json.loads(Path(file).read_text())
    allow_open_files(plan["connections"] + 256)
    requests = [(kind, _request(host, int(port), target)) for kind, target in plan["requests"]]
    client = Client(host, int(port), requests)
    client.connect(plan["connections"])
    # What it costs to accept them is no part of a request; and a server hangs up on who connects
    # and asks for nothing within ten seconds, which is as long as a slow step takes.
    client.greet()
    print("connected", flush=True)
    sys.stdin.readline()
    before = _cpu_s()
    seconds = client.run(plan["rate"], plan["seconds"])
    found = summary(client, seconds, _cpu_s() - before)
    print(json.dumps({"connections": len(client.sockets)} | found))


if __name__ == "__main__":
    main()
