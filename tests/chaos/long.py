"""A run over more seeds than fit into one session: what was played is kept in a file.

The same command goes on where the last one ended, also after SIGTERM, SIGINT or kill -9. Seeds
count for the code that has played them: where that is another one, the file is set aside under the
commit that it names, and the run begins anew.
"""

import hashlib
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import corechain
import corechain_relayer

HERE = Path(__file__).parent
SOURCES = (HERE, Path(corechain.__file__).parent, Path(corechain_relayer.__file__).parent)


class Stopped(Exception):
    """A signal came."""


@dataclass(slots=True)
class Total:
    """Of many seeds. `reached`: by role and fault."""

    seeds: int
    cpu_s: float
    reached: Counter[tuple[str, str]]
    violations: list[tuple[int, str, str]]
    """Seed, role, and what did not hold."""

    @classmethod
    def of(cls, seeds: int = 0) -> "Total":
        return cls(seeds, 0.0, Counter(), [])

    def add(self, other: "Total") -> None:
        self.seeds += other.seeds
        self.cpu_s += other.cpu_s
        self.reached.update(other.reached)
        self.violations += other.violations

    def by_fault(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (_, name), times in self.reached.items():
            found[name] += times
        return found

    def by_role(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for (role, name), times in sorted(self.reached.items()):
            found.setdefault(role, {})[name] = times
        return found


def code() -> str:
    """A digest of all that a story runs."""
    found = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.py")):
            found.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:16]


def commit() -> str:
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(asked, cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no-commit"


@dataclass(frozen=True, slots=True)
class Cast:
    """Whose stories a seed is: those of all `roles`, or the story of one, the roles in turn."""

    roles: tuple[str, ...]
    in_turn: bool = False

    def plays(self, seeds: range) -> Iterator[tuple[int, str]]:
        """Each seed with each role whose story it is."""
        if not self.in_turn:
            return product(seeds, self.roles)
        return ((seed, self.roles[seed % len(self.roles)]) for seed in seeds)

    @property
    def stories(self) -> str:
        return "1 a seed, the roles in turn" if self.in_turn else f"{len(self.roles)} a seed"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of what was played of the seeds from `first` on, in order."""

    path: Path
    first: int
    cast: Cast

    def load(self) -> Total:
        """What this very code has played of these seeds by this cast."""
        if not self.path.exists():
            return Total.of()
        found = json.loads(self.path.read_text())
        if any(found.get(name) != value for name, value in self._about().items()):
            self.path.rename(self.path.with_suffix(f".{found['commit']}.{found['code']}.json"))
            return Total.of()
        reached = {
            (r, n): times for r, names in found["faults"].items() for n, times in names.items()
        }
        violations = [(seed, role, what) for seed, role, what in found["violations"]]
        return Total(found["seeds"], found["cpu_s"], Counter(reached), violations)

    def _about(self) -> dict[str, Any]:
        roles, stories = list(self.cast.roles), self.cast.stories
        return {"code": code(), "first": self.first, "roles": roles, "stories": stories}

    def keeper(self) -> Callable[[Total], None]:
        """Writes a total, all of it or nothing."""
        about = self._about() | {"commit": commit()}

        def keep(total: Total) -> None:
            found = about | {
                "seeds": total.seeds,
                "cpu_s": round(total.cpu_s, 1),
                "cpu_ms_per_seed": round(total.cpu_s / max(1, total.seeds) * 1000, 2),
                "violations": total.violations,
                "faults": total.by_role(),
            }
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_suffix(".new")
            beside.write_text(json.dumps(found, indent=1) + "\n")
            os.replace(beside, self.path)

        return keep


def until_stopped(parts: Iterable[Total]) -> Iterator[Total]:
    """Ends when SIGTERM or SIGINT comes. What is handed out is worked off first."""
    is_waiting = stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if is_waiting:
            raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    source = iter(parts)
    try:
        while not stopped:
            is_waiting = True
            part = next(source)
            is_waiting = False
            yield part
    except (StopIteration, Stopped):
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def unstopped() -> None:
    """In a worker: its parent says when it ends, also where both got the signal."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
