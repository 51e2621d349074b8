"""What each file of tests costs in CPU seconds: its process and everything that it started.

    make test-costs ARGS="tests/relayer -n 2 --dist loadfile"

Wall time says how busy the machine was; this says what the tests ask of it. As a plugin of pytest
it notes what /proc says after each test; at the end the sums are printed, the dearest first. Sorted
into tests/support/costs.py they decide what begins first. Linux only.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

FOLDER = "CORECHAIN_TEST_COSTS"
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
LEAST_S = 1.0


def family_s() -> float:
    """CPU seconds of this process, its living descendants, and those that they have waited for."""
    spent: dict[int, float] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name, in parentheses, may hold anything: the numbers begin behind it.
            words = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended in between
            continue
        number = int(folder.name)
        children[int(words[1])].append(number)
        # utime, stime, cutime, cstime: fields 14 to 17 of proc(5), of which the first two are gone.
        spent[number] = sum(map(int, words[11:15])) / TICKS_A_SECOND
    found, known = [os.getpid()], 0
    while known < len(found):
        found += children[found[known]]
        known += 1
    return sum(spent.get(number, 0.0) for number in found)


class Meter:
    """Notes what a process of pytest has spent since the last note."""

    def __init__(self, folder: Path) -> None:
        self.notes, self.spent_s = folder / f"{os.getpid()}.jsonl", 0.0

    def note(self, file: str) -> None:
        now_s = family_s()
        with self.notes.open("a") as notes:
            notes.write(json.dumps([file, now_s - self.spent_s]) + "\n")
        self.spent_s = now_s

    def pytest_collection_finish(self) -> None:
        self.note("(collection)")

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.note(nodeid.partition("::")[0])

    def pytest_sessionfinish(self) -> None:
        self.note("(the end of the session)")


def pytest_configure(config) -> None:  # type: ignore[no-untyped-def]
    # The process that hands the tests out has the others as children: it would count them twice.
    if FOLDER in os.environ and not getattr(config.option, "numprocesses", None):
        config.pluginmanager.register(Meter(Path(os.environ[FOLDER])))


def summed(folder: Path) -> Counter[str]:
    costs: Counter[str] = Counter()
    for notes in folder.glob("*.jsonl"):
        for line in notes.read_text().splitlines():
            file, seconds = json.loads(line)
            costs[file] += seconds
    return costs


def main(words: list[str]) -> int:
    """The exit code of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, FOLDER: folder, "PYTHONPATH": str(Path(__file__).parent)}
        command = [sys.executable, "-m", "pytest", "-p", "costs", *words]
        code = subprocess.run(command, env=environment, check=False).returncode
        costs = summed(Path(folder))
    for file, seconds in costs.most_common():
        if seconds >= LEAST_S:
            print(f"{seconds:8.1f} s  {file}")
    print(f"{costs.total():8.1f} s  of CPU in all")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
