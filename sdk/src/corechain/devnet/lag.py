"""How long a batch takes from its commitment on chain to verified data, seen from outside."""

import threading
import time
from dataclasses import dataclass, field
from typing import Self

from corechain.client import Client
from corechain.protocol.errors import TransportError

POLL_S = 0.02


@dataclass(slots=True)
class LagWatch:
    """Watches chain and query API in a thread of its own while it is open; times in seconds."""

    client: Client
    committed: dict[bytes, float] = field(default_factory=dict)
    verified: dict[bytes, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name="lag", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()
        self.client.close()

    def _watch(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self._look()
            except TransportError:
                continue  # a look that failed is no look; the next one comes at once

    def _look(self) -> None:
        committed = self.client.chain.committed_batches()
        now = time.monotonic()
        for commitment in committed:
            self.committed.setdefault(commitment, now)
        for batch in self.client.batches(limit=1000):
            if batch["state"] == "verified":
                commitment = bytes.fromhex(batch["commitment"][2:])
                self.verified.setdefault(commitment, time.monotonic())

    def median(self) -> float:
        both = self.verified.keys() & self.committed.keys()
        lags = sorted(self.verified[key] - self.committed[key] for key in both)
        return lags[len(lags) // 2] if lags else 0.0
