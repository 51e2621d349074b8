"""`make test-cluster`: each test gets its turn, and nothing that was not run is hidden.

given rows of which one passes, one fails, one cannot run here, one hangs and one has no tests
  each is told apart, and the last words name what failed and what was not run, with the reason
given a run that is interrupted
  it says which test it met, and takes none that did not end for one that passed
given a limit that is over
  what is left is not run, and says so
given figures that tests have recorded
  those of this run alone are summed up
given the workflow that runs every night
  it calls what the Makefile has, and keeps the tools where they are looked for
given the repository
  every row is a file with tests; every file of tests/cluster has a row, and all rows together have
  room within the limit
  a file of tests/cluster that has no row yet is run after them
"""

import json
import re
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from support.loading import loaded

REPOSITORY = Path(__file__).resolve().parents[2]
SAID = {
    "passes": "print('.'); print('2 passed, 1 warning in 0.1s')",
    "fails": "print('1 failed in 0.1s'); raise SystemExit(1)",
    "lacks": "print('SKIPPED [2] a.py:5: there is no program'); print('2 skipped in 0.1s')",
    "hangs": "import time; time.sleep(600)",
    "is_empty": "raise SystemExit(5)",
    "half": "print('SKIPPED [1] a.py:7: no disk'); print('1 passed, 1 skipped in 0.1s')",
}
"""What stands for a pytest: a program that says what pytest says."""


@pytest.fixture
def tool() -> ModuleType:
    return loaded("tools/test_cluster.py")


def test_each_row_is_told_apart_and_nothing_is_hidden(tool: ModuleType, tmp_path: Path) -> None:
    # The one that hangs is cut off by its own limit; the others have a minute.
    rows = [tool.Row(f"{name}.py", limit_s=1 if name == "hangs" else 60) for name in SAID]
    found = list(
        tool.outcomes(rows, 600, lambda row: [sys.executable, "-c", SAID[row.name]], tmp_path)
    )
    assert {one.name: one.result for one in found} == {
        "passes": "passed",
        "fails": "failed",
        "lacks": "not run",
        "hangs": "failed",
        "is_empty": "failed",
        "half": "passed",
    }
    assert tool.last_words(found, []) == [
        "! NOT run: lacks: a.py:5: there is no program",
        "! NOT run: half: a.py:7: no disk",
        "FAILED: fails: pytest ended with 1",
        "FAILED: hangs: no end within 1 s",
        "FAILED: is_empty: it has no tests",
        "of 6: 2 passed, 3 failed, 1 not run",
    ]
    assert tool.exit_code(found) == 1
    passed, not_run = found[0], found[2]
    assert [tool.exit_code(some) for some in ([passed, not_run], [not_run])] == [0, 2]


def test_an_interrupted_run_says_which_test_it_met_and_passes_none_for_it(
    tool: ModuleType, tmp_path: Path
) -> None:
    """Ctrl-C in the second of three: its pytest ends with it, and the third never began."""
    rows = [tool.Row(f"{name}.py") for name in ("passes", "met", "behind")]
    met = f"import os; os.kill(os.getppid(), {int(signal.SIGINT)}); {SAID['hangs']}"
    said, found = {"passes": SAID["passes"], "met": met}, []

    def words(row: Any) -> list[str]:
        return [sys.executable, "-c", said[row.name]]

    # pytest may run in the background of a shell that has SIGINT ignored there.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            found.extend(tool.outcomes(rows, 600, words, tmp_path))
    finally:
        signal.signal(signal.SIGINT, before)
    whole = tool.with_the_rest(found, rows, 1.26)
    assert [(one.name, one.result, one.seconds) for one in whole[1:]] == [
        ("met", "interrupted", 1.3),
        ("behind", "not run", 0.0),
    ]
    assert tool.last_words(whole, []) == [
        "! NOT run: behind: the run was interrupted before",
        "INTERRUPTED: met: ended from outside before its end",
        "of 3: 1 passed, 1 interrupted, 1 not run",
    ]
    assert tool.exit_code(whole) == 130
    assert tool.with_the_rest(whole, rows, 0.0) == whole


def test_what_the_limit_leaves_out_is_named(tool: ModuleType, tmp_path: Path) -> None:
    words = [sys.executable, "-c", SAID["hangs"]]
    (cut,) = tool.outcomes([tool.Row("cut.py")], 0.6, lambda _: words, tmp_path)
    assert (cut.result, cut.why) == ("not run", "cut off: 0.01 min were over")
    (left_out,) = tool.outcomes([tool.Row("late.py")], 0, tool.pytest_words, tmp_path)
    assert tool.last_words([left_out], []) == [
        "! NOT run: late: the limit of 0 min was over",
        "of 1: 1 not run",
    ]
    # That something was left out is no success, though nothing failed.
    passed = tool.Outcome("one", "passed")
    assert [tool.exit_code([passed, one]) for one in (cut, left_out)] == [2, 2]
    assert tool.exit_code([passed]) == 0
    assert tool.last_words([tool.Outcome("one", "passed")], []) == [
        "every test of a cluster was run",
        "of 1: 1 passed",
    ]
    asked = tool.last_words([tool.Outcome("one", "passed")], ["one"])
    assert asked[0] == "! NOT run: all but one, as was asked"


def test_figures_of_this_run_alone_are_summed_up(tool: ModuleType, tmp_path: Path) -> None:
    figures = {
        "whole": {"at": 200, "kills": {"api": 1, "kafka": 2}, "lost": 1, "p95_during_ms": 5.0},
        "postgres": {"at": 201, "kills": {"api": 1}, "lost": 2, "doubled": 3, "failover_s": 19.4},
        "scaled": {"at": 202, "hpa_steps": [{"pods": 2}]},
        "old": {"at": 100, "lost": 100},
    }
    for name, one in figures.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"part": name, **one}))
    # Of a run of some of them, before.
    (tmp_path / "cluster.json").write_text(json.dumps({"at": "2026-11-29T16:10:19Z", "lost": 9}))
    found = tool.table(tool.measured(200.9, tmp_path))
    assert found["kills"] == {"api": 2, "kafka": 2}
    assert (found["lost"], found["doubled"]) == (3, 3)
    assert found["failovers"] == {"postgres failover": 19.4}
    assert (found["p95_before_ms"], found["p95_during_ms"]) == (None, 5.0)
    assert found["hpa_steps"] == [{"pods": 2}]
    assert set(found["parts"]) == {"whole", "postgres", "scaled"}


def test_every_row_is_a_file_with_tests(tool: ModuleType) -> None:
    rows = tool.rows([])
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    for row in rows:
        assert "def test_" in (REPOSITORY / row.path).read_text(), row.path


def test_the_whole_table_has_room_within_the_limit(tool: ModuleType) -> None:
    """Who adds a row finds its minutes, or makes another one cheaper."""
    assert [row.path for row in tool.rows([]) if row not in tool.TABLE] == []
    # A twentieth is left: no two runs take the same time.
    assert sum(row.minutes for row in tool.TABLE) <= 0.95 * tool.LIMIT_MINUTES
    for row in tool.TABLE:
        assert row.limit_s >= 5 * 60 * row.minutes, row.name


def test_a_file_without_a_row_is_run_too(tool: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "cluster"
    folder.mkdir(parents=True)
    (folder / "new_one.py").write_text("\ndef test_it() -> None: ...\n")
    (folder / "helper.py").write_text("\ndef helps() -> None: ...\n")
    listed = tool.Row("tests/cluster/listed.py")
    rows = tool.rows([], tmp_path, [listed])
    assert [row.name for row in rows] == ["listed", "new_one"]
    with pytest.raises(SystemExit, match="no test is called other: there are listed, new_one"):
        tool.rows(["other"], tmp_path, [listed])


def called_by(steps: list[dict[str, Any]]) -> list[str]:
    return re.findall(r"\bmake ([\w-]+)", "\n".join(step.get("run", "") for step in steps))


def test_every_night_calls_what_the_makefile_has() -> None:
    text = (REPOSITORY / ".github" / "workflows" / "nightly.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    steps = jobs["cluster"]["steps"]
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    called = {name: called_by(job["steps"]) for name, job in jobs.items()}
    # Containers take root: the row of test-cluster leaves them out without, and says so.
    assert called["cluster"] == ["setup", "cluster-tools", "test-cluster", "test-compose"]
    assert called["chaos"] == ["setup", "chaos", "stories"]
    assert targets >= set().union(*called.values())
    (kept,) = [step["with"] for step in steps if "actions/cache@" in step.get("uses", "")]
    cache = loaded("tools/ensure_cluster_tools.py").cache_folder({"HOME": "~"})
    assert Path(kept["path"]).expanduser() == cache
