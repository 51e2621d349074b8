"""CPU time and memory of a network's processes, from /proc, through kills and restarts."""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
SAMPLE_S = 0.5
# The memory of a tree of processes is summed page by page: too dear for every sample.
MEMORY_EVERY = 4


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    cpu_s: float
    """Its own, and that of its children that have ended and were waited for."""


def _stats() -> dict[int, _Stat]:
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue  # it has ended meanwhile
            fields = text[text.rindex(")") + 2 :].split()
            cpu_s = sum(map(int, fields[11:15])) * TICK_S
            found[int(entry.name)] = _Stat(int(fields[1]), cpu_s)
    return found


def _tree(root: int, stats: Mapping[int, _Stat]) -> list[int]:
    tree = [root] if root in stats else []
    for pid in tree:
        tree += [child for child, stat in stats.items() if stat.parent == pid]
    return tree


def _pss_mib(pids: list[int]) -> float:
    """Proportional: what Postgres' processes share counts once."""
    total = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


@dataclass(slots=True)
class Accounts:
    """Samples the processes that `pids` names until `stop`; a name may get a new process."""

    pids: Callable[[], Mapping[str, int]]
    memory_mib: dict[str, float] = field(default_factory=dict)
    """The most that was seen."""
    _spent: dict[tuple[str, int], float] = field(default_factory=dict)
    _began: dict[tuple[str, int], float] = field(default_factory=dict)
    _samples: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> "Accounts":
        self._sample()
        # What was spent before does not count; a process that comes later counts from its birth.
        self._began = dict(self._spent)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        assert self._thread is not None
        self._thread.join()
        self._sample()

    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU since the start, by name."""
        found: dict[str, float] = {}
        for (name, pid), spent in self._spent.items():
            began = self._began.get((name, pid), 0.0)
            found[name] = found.get(name, 0.0) + spent - began
        return found

    def _run(self) -> None:
        while not self._stopping.wait(SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        stats = _stats()
        for name, pid in dict(self.pids()).items():
            tree = _tree(pid, stats)
            if tree:
                self._spent[name, pid] = sum(stats[one].cpu_s for one in tree)
            if self._samples % MEMORY_EVERY == 0:
                most = max(self.memory_mib.get(name, 0.0), _pss_mib(tree))
                self.memory_mib[name] = most
        self._samples += 1
