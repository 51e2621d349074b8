"""A URL among the options that is none is a wrong argument: exit code 2, and nothing begins."""

import os
import subprocess
from pathlib import Path

import pytest
from support.command import COMMAND
from support.processes import PATIENCE_S
from typer.testing import CliRunner

from corechain.cli import app, load_plugins

COMMANDS = {
    "status of a node": ["status", "--rpc-url"],
    "status of a gateway": ["status", "--gateway-url"],
    "status of an API": ["status", "--api-url"],
    "verify": ["verify", "1", "--rpc-url"],
    "reconcile": ["reconcile", __file__, "--gateway-url"],
    "fleet enrol": ["fleet", "enrol", "--rpc-url"],
    "fleet send": ["fleet", "send", __file__, "--storm", "--gateway-url"],
    "indexer audit": ["indexer", "audit", "--node"],
    "bus move": ["bus", "move", "--old-url"],
}
WRONG = ("secret", "ftp://secret", "secret:8545", "://")


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_what_is_no_url_is_a_wrong_argument_and_is_not_shown(words: list[str]) -> None:
    load_plugins()
    for url in WRONG:
        done = CliRunner().invoke(app, [*words, url])
        assert done.exit_code == 2, (url, done.output, done.exception)
        assert "Invalid value" in done.output
        assert words[-1] in done.output
        assert "secret" not in done.output


def test_dead_letters_of_a_lane_that_there_is_not_are_a_wrong_argument(deployment: Path) -> None:
    """Its letters would be none: a success that did nothing."""
    settings = {
        "RELAYER_RPC_URL": "http://127.0.0.1:9",
        "RELAYER_DEPLOYMENT": str(deployment),
        "RELAYER_BUS_URL": "redis://127.0.0.1:9",
        "RELAYER_DATABASE_URL": "postgresql://127.0.0.1:9/none",
        "RELAYER_DATA_DIR": str(deployment.parent),
    }
    words = [*COMMAND, "bus", "replay", "--lane", "1"]
    env, limit = os.environ | settings, PATIENCE_S
    done = subprocess.run(
        words, env=env, capture_output=True, text=True, timeout=limit, check=False
    )
    assert (done.returncode, done.stderr) == (2, "error: --lane 1 is none of the 1\n")
