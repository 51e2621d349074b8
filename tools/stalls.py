"""Runs a command as if on a machine that is far too busy: each of its processes stands still at
random moments, for up to some seconds. What rests on timing fails there.

    python tools/stalls.py --longest-s 2 --every-s 4 -- pytest tests/relayer -n 2

A process that stands still (SIGSTOP) looks to all others as one that the scheduler has forgotten:
services, databases, nodes and the tests themselves, at any of their instructions. Exits as the
command does.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

TICK_S = 0.05
LOOK_EVERY = 10
"""Ticks between two looks at which processes there are: a look costs some milliseconds."""


@dataclass
class Stalls:
    """Stops and wakes the descendants of one process. Times in seconds."""

    command: psutil.Process
    longest_s: float
    every_s: float
    chance: random.Random
    counted: int = 0
    _wakes: dict[psutil.Process, float] = field(default_factory=dict)
    _known: list[psutil.Process] = field(default_factory=list)

    def tick(self, number: int, now: float) -> None:
        if number % LOOK_EVERY == 0:
            with suppress(psutil.NoSuchProcess):
                self._known = self.command.children(recursive=True)
        self.wake(now)
        for process in self._known:
            if process not in self._wakes and self.chance.random() < TICK_S / self.every_s:
                self._stop(process, now)

    def _stop(self, process: psutil.Process, now: float) -> None:
        with suppress(psutil.Error):
            # A test may have stopped it itself: then it is not ours to wake.
            if process.status() != psutil.STATUS_STOPPED:
                process.suspend()
                self._wakes[process] = now + self.chance.uniform(0, self.longest_s)
                self.counted += 1

    def wake(self, now: float = float("inf")) -> None:
        """Those whose time has come; all by default."""
        for process in [p for p, at in self._wakes.items() if at <= now]:
            del self._wakes[process]
            with suppress(psutil.Error):
                process.resume()


def run(words: list[str], longest_s: float, every_s: float, seed: int) -> int:
    """The exit code of the command."""
    child = subprocess.Popen(words)
    stalls = Stalls(psutil.Process(child.pid), longest_s, every_s, random.Random(seed))
    number = 0
    try:
        while child.poll() is None:
            stalls.tick(number, time.monotonic())
            number += 1
            time.sleep(TICK_S)
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
    finally:
        stalls.wake()
    code = child.wait()
    print(f"{stalls.counted} stalls of up to {longest_s:g} s, seed {seed}", file=sys.stderr)
    return code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--longest-s", type=float, default=2.0)
    parser.add_argument("--every-s", type=float, default=4.0, help="on average, for each process")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2)))
    parser.add_argument("command", nargs="+")
    found = parser.parse_args()
    return run(found.command, found.longest_s, found.every_s, found.seed)


if __name__ == "__main__":
    sys.exit(main())
