"""Kills a network's processes one after another while it works, and starts each again."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle

from corechain.devnet.network import Network
from corechain.protocol.errors import TransportError

# Everything between a device and the chain. The chain itself is not ours to lose.
VICTIMS = ("gateway", "relayer", "valkey", "kafka", "aggregator", "postgres", "submitter")
TRIES = 5


@dataclass(slots=True)
class Kills:
    """One SIGKILL every `every_s` seconds, until `stop`; then all processes run again.

    `victims` by name, in turn; those that the network has not are left out.
    """

    network: Network
    every_s: float
    victims: Sequence[str] = VICTIMS
    counts: Counter[str] = field(default_factory=Counter)
    _pids: Mapping[str, int] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> "Kills":
        self._pids = self.network.pids()
        if self.every_s:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def pids(self) -> Mapping[str, int]:
        """As of the last restart: a look at the network while it changes could fail."""
        return self._pids

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        victims = cycle(name for name in self.victims if name in self._pids)
        while not self._stopping.wait(self.every_s):
            self._kill(next(victims))

    def _kill(self, name: str) -> None:
        self.network.kill(name)
        self.counts[name] += 1
        for tried in range(1, TRIES + 1):
            try:
                self.network.restart(name)
                break
            except TransportError as error:
                # A service is not ready while another one that it needs starts on a busy machine.
                print(f"· {name} did not start ({tried} of {TRIES}): {error}", flush=True)
        self._pids = self.network.pids()
