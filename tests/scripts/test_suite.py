"""What the tests themselves must keep to, so that a slow machine fails none of them.

given all test files
  nothing that must come is waited for less long than a minute
  no example of hypothesis fails because it took long
  a test of migrations begins with an empty database
given several pytest processes
  each chooses ports of its own, and none twice
given a machine with memory to spare
  the files of tests lie in it
given one without, or a place for them that somebody has chosen
  they lie where they lay
given runs that failed or were killed, and others that go on
  the next one removes what the dead have left
given processes that share a run
  they are forked from one that has collected all tests
given files of which some take a minute, and several processes
  those begin first, however few tests they have
given a service of a test
  its modules are loaded when it begins
given a command on a machine that stalls
  its processes stand still and go on, and its exit code is passed on
"""

import ast
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil
import pytest
from hypothesis import settings
from support import scratch
from support.costs import COSTS_S, longest_first
from support.forked import Forked
from support.processes import PATIENCE_S

from corechain.devnet.process import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted(Path(REPOSITORY / "tests").rglob("*.py"))
LEAST_S = 60.0
"""PATIENCE_S is more, and better."""
WAITS = {"timeout": 0, "wait_for": 1, "settimeout": 0, "join": 0, "result": 0}
"""Functions that wait, and which argument says how long."""


@cache
def calls_of(path: Path) -> list[ast.Call]:
    found = ast.walk(ast.parse(path.read_text()))
    return [node for node in found if isinstance(node, ast.Call)]


def waits_of(path: Path) -> Iterator[tuple[str, float]]:
    """(place, seconds) of each wait whose limit is written as a number."""
    for node in calls_of(path):
        if isinstance(node.func, ast.Attribute):
            place = WAITS.get(node.func.attr, len(node.args))
            limits = [*node.args[place : place + 1]]
            limits += [word.value for word in node.keywords if word.arg == "timeout"]
            for limit in limits:
                if isinstance(limit, ast.Constant) and isinstance(limit.value, (int, float)):
                    yield f"{path.name}:{node.lineno}", limit.value


def test_nothing_that_must_come_is_waited_for_less_than_a_minute() -> None:
    waits = [wait for path in FILES for wait in waits_of(path)]
    assert [(where, limit) for where, limit in waits if limit < LEAST_S] == []


def efforts_of(path: Path) -> Iterator[tuple[str, str, str]]:
    """(place, name, value) of each keyword of hypothesis' settings."""
    for node in calls_of(path):
        if getattr(node.func, "id", "") == "settings":
            for word in node.keywords:
                yield f"{path.name}:{node.lineno}", str(word.arg), ast.unparse(word.value)


def test_no_example_fails_because_the_machine_is_slow() -> None:
    assert settings.default is not None
    assert settings.default.deadline is None
    for path in FILES:
        for where, name, value in efforts_of(path):
            assert name != "deadline" or value == "None", where
            checks = ("HealthCheck.too_slow", "list(HealthCheck)")
            is_patient = any(check in value for check in checks)
            assert name != "suppress_health_check" or is_patient, where


RANGE = """
import sys; sys.path.insert(0, "tests")
from support.ports import take_own_ports
from corechain.devnet import process
take_own_ports()
print(process.FIRST_PORT, process.LAST_PORT, flush=True)
sys.stdin.read()
"""


def test_pytest_processes_choose_ports_of_their_own() -> None:
    command = [sys.executable, "-c", RANGE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
    with (
        subprocess.Popen(command, **pipes) as one,  # type: ignore[call-overload]
        subprocess.Popen(command, **pipes) as other,  # type: ignore[call-overload]
    ):
        ranges = []
        for process in (one, other):
            first, last = map(int, process.stdout.readline().split())
            ranges.append(range(first, last + 1))
        for process in (one, other):
            process.stdin.close()
    assert not set(ranges[0]) & set(ranges[1])


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == len(ports)


def test_a_process_of_a_shared_run_is_forked_from_one_with_all_tests(worker_id: str) -> None:
    parent = " ".join(psutil.Process(os.getppid()).cmdline())
    assert ("worker_host.py" in parent) is (worker_id != "master")
    # Ctrl-C reaches all of them; the one that the others end with waits for them.
    # A loop of an earlier test may have a handler of its own by now.
    assert signal.getsignal(signal.SIGINT) not in (signal.SIG_DFL, signal.SIG_IGN, None)
    if worker_id != "master":
        told = Path(f"/proc/{os.getppid()}/status").read_text()
        ignored = int(told.partition("SigIgn:")[2].split()[0], 16)
        assert ignored >> (signal.SIGINT - 1) & 1


def test_a_service_of_a_test_begins_with_its_modules_loaded(tmp_path: Path) -> None:
    """Without them the tests of relayers take twice as long, and nothing else tells. What is forked
    finds its function in `support.forked`, and reads its settings by what pydantic made of them."""
    told = tmp_path / "told"
    names = {"corechain_relayer.serving", "corechain_indexer.serving", "support.forked", "pytest"}
    loaded = f"{names} <= sys.modules.keys()"
    built = "sys.modules['corechain_relayer.settings'].Settings.__pydantic_complete__"
    look = f"import sys; open({str(told)!r}, 'w').write(str({loaded} and {built}))"
    process = Forked(exec, f"{look}; sys.exit(3)")
    assert process.wait(PATIENCE_S) == 3
    process.send_signal(signal.SIGKILL)  # gone already
    assert told.read_text() == "True"


def test_a_command_whose_processes_stand_still_ends_as_it_would_have() -> None:
    work = "import sys, time\nfor _ in range(40): time.sleep(0.02)\nprint('done'); sys.exit(7)"
    parent = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {work!r}]))"
    words = ["--longest-s", "0.05", "--every-s", "0.1", "--", sys.executable, "-c", parent]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tools/stalls.py", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (7, "done\n")
    stalls = int(done.stderr.split()[0])
    assert stalls > 0


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nobody has said where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", "unasked")
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(scratch, "ROOM_BYTES", 1)
    return monkeypatch


def test_files_of_tests_lie_in_memory_where_there_is_room(
    tmp_path: Path, nowhere: pytest.MonkeyPatch
) -> None:
    folder = scratch.take_memory(tmp_path)
    assert folder is not None
    assert folder.parent == tmp_path
    assert folder.is_dir()
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(folder)


def test_a_run_removes_what_dead_runs_have_left_and_nothing_else(
    tmp_path: Path, nowhere: pytest.MonkeyPatch
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, others = (
        tmp_path / f"corechain-tests-{dead.pid}",
        tmp_path / f"corechain-tests-{os.getppid()}",
    )
    for folder in (left, others, tmp_path / "something"):
        (folder / "of" / "a" / "test").mkdir(parents=True)
    mine = scratch.take_memory(tmp_path)
    assert {*tmp_path.iterdir()} == {mine, others, tmp_path / "something"}


def test_files_of_tests_lie_where_somebody_wants_them(
    tmp_path: Path, nowhere: pytest.MonkeyPatch
) -> None:
    nowhere.setenv("TMPDIR", "/chosen")
    assert scratch.take_memory(tmp_path) is None
    assert os.environ["TMPDIR"] == "/chosen"


@pytest.mark.parametrize("room", [1 << 60, 1])
def test_files_of_tests_lie_where_they_lay_where_there_is_no_room(
    room: int, tmp_path: Path, nowhere: pytest.MonkeyPatch
) -> None:
    nowhere.setattr(scratch, "ROOM_BYTES", room)
    assert scratch.take_memory(tmp_path if room > 1 else tmp_path / "missing") is None
    assert tempfile.gettempdir() == "unasked"


def test_memory_is_room_only_as_far_as_the_machine_has_it(
    tmp_path: Path, nowhere: pytest.MonkeyPatch
) -> None:
    nowhere.setattr(scratch, "_free_memory", lambda: 0)
    assert scratch.take_memory(tmp_path) is None


WHOLE = ("MIGRATIONS", "migrations()")
EMPTY = ("empty_database", "url", "missing")


def test_whoever_applies_some_migrations_begins_with_an_empty_database() -> None:
    """`database` has all tables in the services' folders: the older ones cannot be made there."""
    for path in FILES:
        for call in calls_of(path):
            if getattr(call.func, "id", "") == "migrate" and len(call.args) == 2:
                into, what = map(ast.unparse, call.args)
                assert what in WHOLE or into in EMPTY, f"{path.name}:{call.lineno}"


def test_the_longest_files_begin_first_and_those_without_servers_before_them() -> None:
    few, many, pure = (
        "tests/relayer/test_lanes.py",
        "tests/sdk/test_x.py",
        "tests/protocol/test_y.py",
    )
    places = longest_first([*[many] * 50, few, pure])
    assert sorted(places, key=lambda file: places[file]) == [pure, few, many]


def test_a_file_that_is_said_to_take_long_is_there() -> None:
    assert [file for file in COSTS_S if not (REPOSITORY / file).exists()] == []


def test_the_cost_of_a_file_is_that_of_all_that_it_starts(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 1.2: pass"
    (tmp_path / "test_burning.py").write_text(
        "import subprocess, sys\n"
        f"def test_it(): subprocess.run([sys.executable, '-c', {burn!r}], check=True)\n"
    )
    (tmp_path / "test_idling.py").write_text("def test_it(): pass\n")
    command = [sys.executable, REPOSITORY / "tools" / "costs.py", "--rootdir", tmp_path]
    # Plugins that our own settings switch off: Ape's takes seconds.
    without = [word for name in ("ape_test", "schemathesis") for word in ("-p", f"no:{name}")]
    done = subprocess.run(
        [*command, *without, tmp_path],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    costs = dict(line.split(" s  ") for line in done.stdout.splitlines() if " s  " in line)
    (burning,) = [seconds for seconds, file in costs.items() if file == "test_burning.py"]
    assert float(burning) >= 1.0
    assert "test_idling.py" not in costs.values()


def test_no_file_is_named_beside_the_folder_that_it_lies_in() -> None:
    """pytest takes the file for the whole folder: 927 tests were not run, and nobody knew."""
    told = subprocess.run(
        ["make", "-n", "SETUP=", "test-services"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (command,) = [line for line in told.splitlines() if "--dist loadfile" in line]
    named = [Path(word) for word in command.split() if word.startswith("tests/")]
    assert Path("tests/indexer") in named
    assert not [one for one in named for other in named if other in one.parents]
