"""Queries at a steady rate while something is killed: how many failed, and how long they took."""

import http.client
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

ANSWER_LIMIT_S = 30.0
UNANSWERED = 0
"""For the status of a request whose connection broke."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One question. Times in seconds, `at` of the monotonic clock."""

    path: str
    at: float
    took_s: float
    status: int


@dataclass
class QueryLoad:
    """Threads that ask the paths in turn, each over a kept connection, `rate` a second together."""

    port: int
    paths: Callable[[], Sequence[str]]
    rate: float = 40.0
    threads: int = 4
    answers: list[Answer] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _running: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for number in range(self.threads):
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            thread.start()
            self._running.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._running:
            thread.join(2 * ANSWER_LIMIT_S)

    def _run(self, turn: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_LIMIT_S)
        while not self._stopping.wait(self.threads / self.rate):
            paths = self.paths()
            self.answers.append(self._ask(connection, paths[turn % len(paths)]))
            turn += 1
        connection.close()

    @staticmethod
    def _ask(connection: http.client.HTTPConnection, path: str) -> Answer:
        at = time.monotonic()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = UNANSWERED
        return Answer(path, at, time.monotonic() - at, status)

    def between(self, start: float, end: float) -> list[Answer]:
        return [answer for answer in list(self.answers) if start <= answer.at < end]

    def failed(self, start: float, end: float) -> list[Answer]:
        return [one for one in self.between(start, end) if one.status != http.client.OK]

    def p95_ms(self, start: float, end: float) -> float:
        took = [answer.took_s for answer in self.between(start, end)]
        return round(1e3 * statistics.quantiles(took, n=20)[-1], 1) if len(took) > 1 else 0.0
