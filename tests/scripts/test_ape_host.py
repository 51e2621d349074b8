"""The process that runs Ape for many tests, after one of them has waited for it in vain."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.ape import Ape
from support.processes import PATIENCE_S

PROGRAM = """
import sys, time
for line in sys.stdin:
    time.sleep(600 if "hangs" in line else 0)
    print(0, flush=True)
"""
LIMIT_S = 0.2


def test_a_run_that_takes_too_long_is_the_last_of_its_host_and_not_of_all(tmp_path: Path) -> None:
    with closing(Ape([sys.executable, "-S", "-c", PROGRAM])) as ape:
        with pytest.raises(subprocess.TimeoutExpired):
            ape.run(["hangs"], {}, tmp_path, LIMIT_S)
        assert ape.run(["goes on"], {}, tmp_path, PATIENCE_S).returncode == 0
