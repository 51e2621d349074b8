"""What `ape` finds prepared in an activated environment: a port for its node, or the user's."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

OUTGOING = 32_768
"""From here on the kernel gives ports to outgoing connections."""
REPOSITORY = Path(__file__).resolve().parents[2]
SAY = "import os, ape_corechain; print(os.environ.get('APE_FOUNDRY_HOST', ''))"


def node_of_ape(folder: Path, **variables: str) -> str:
    """Where Ape looks for a node, and else starts its own."""
    known = {name: value for name, value in os.environ.items() if name != "APE_FOUNDRY_HOST"}
    done = subprocess.run(
        [sys.executable, "-c", SAY], env=known | variables, cwd=folder, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_node_that_ape_starts_gets_no_port_that_a_connection_may_have() -> None:
    url = urlsplit(node_of_ape(REPOSITORY))
    assert url.hostname == "127.0.0.1"
    assert url.port is not None
    assert 1_024 <= url.port < OUTGOING


def test_the_node_that_the_user_named_stays() -> None:
    there = "http://127.0.0.1:8545"
    assert node_of_ape(REPOSITORY, APE_FOUNDRY_HOST=there) == there


def test_outside_a_checkout_nothing_is_chosen(tmp_path: Path) -> None:
    assert node_of_ape(tmp_path) == ""
