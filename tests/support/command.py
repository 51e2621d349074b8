"""The `corechain` command as a user runs it: another process, nothing but its words.

It is forked with its modules loaded, unless its environment says which. What loading them costs,
and that a command finds what it needs, is for tests/sdk/test_cli.py.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.forked import completed, may_fork
from support.processes import PATIENCE_S

PROGRAM = "corechain.cli"
COMMAND = [sys.executable, "-m", PROGRAM]
NOTHING: Mapping[str, str] = {}


def environment(changes: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """Ours, wide enough that no table breaks a word, without settings of the caller's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CORECHAIN_")}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", **changes}


def corechain(
    *arguments: str | Path, cwd: Path | None = None, changes: Mapping[str, str] = NOTHING
) -> "subprocess.CompletedProcess[str]":
    words, given = [*map(str, arguments)], environment(changes)
    if may_fork(given):
        return completed(PROGRAM, words, given, cwd)
    return subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=given,
        timeout=PATIENCE_S,
        check=False,
    )
