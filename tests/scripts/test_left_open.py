"""What a test leaves open when it fails is nothing to the tests after it.

given a test that fails, and one that passes, and both close nothing
├── the one after the first passes
└── the second fails by it
"""

import subprocess
import sys
from pathlib import Path

from support.processes import PATIENCE_S

TESTS = Path(__file__).resolve().parents[1]
LEAVING = """
import gc
import socket

def test_fails():
    endpoint = socket.socket()
    assert not endpoint

def test_after_it():
    gc.collect()

def test_passes():
    socket.socket()
"""


def test_what_is_left_open_fails_the_test_that_left_it_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "test_leaving.py").write_text(LEAVING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-W", "error", "-p", "support.left_open", tmp_path],
        # Ape's plugin alone would take seconds.
        env={"PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines() if "::" in line and "ED " in line]
    outcomes = {test.rpartition("::")[2]: outcome for outcome, test, *_ in lines}
    assert outcomes == {"test_fails": "FAILED", "test_after_it": "PASSED", "test_passes": "FAILED"}
