"""Processes of pytest-xdist, forked from one that has collected the tests: worker_host.py."""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import execnet
import pytest

HERE = Path(__file__).parent


def fork_workers(config: pytest.Config, specs: list[execnet.XSpec]) -> None:
    """Has xdist start its processes so. The host ends with the session."""
    folder = tempfile.TemporaryDirectory(prefix="workers-")
    config.add_cleanup(folder.cleanup)
    place, words = Path(folder.name, "socket"), config.invocation_params.args
    host = subprocess.Popen(
        [sys.executable, "-P", HERE / "worker_host.py", place, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert host.stdout is not None
    with host.stdout as said:
        said.readline()  # ready, or gone: then no process starts
    config.add_cleanup(host.wait)
    config.add_cleanup(host.kill)
    for spec in specs:
        spec.python = shlex.join([sys.executable, str(HERE / "worker.py"), str(place)])
