"""`ape` as a user runs it, and what is true after a deployment."""

import subprocess
from pathlib import Path
from typing import Any

from support.ape import ape

from corechain.devnet.servers import rpc

REPOSITORY = Path(__file__).resolve().parents[2]
LOCAL = "ethereum:local:foundry"
LIMIT_S = 300
UNSET = "unset"


def run(
    user: dict[str, str], *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Forked from an Ape that has its modules: support.ape."""
    given = {name: value for name, value in {**user, **variables}.items() if value != UNSET}
    return ape().run(arguments, given, REPOSITORY, LIMIT_S)


def run_whole(
    user: dict[str, str], *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """As a user's shell starts it."""
    return subprocess.run(
        ["ape", *arguments], env={**user, **variables}, cwd=REPOSITORY, text=True,
        capture_output=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip


def refused(user: dict[str, str], *arguments: str, **variables: str) -> str:
    """What a failed run says, in one line."""
    done = run(user, "run", "deploy", "-v", "WARNING", *arguments, **variables)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    return " ".join(said.split())


def code_at(url: str, address: str, block: int) -> str:
    return str(rpc(url, "eth_getCode", address, hex(block)))


def is_true(url: str, whole: dict[str, Any], left: dict[str, Any]) -> None:
    assert whole["finished"] is True
    assert whole["contracts"].items() >= left["contracts"].items()
    assert len(whole["contracts"]) == 8
    for entry in whole["contracts"].values():
        receipt = rpc(url, "eth_getTransactionReceipt", entry["tx"])
        assert int(receipt["blockNumber"], 16) == entry["block"]
        assert code_at(url, entry["address"], entry["block"]) != "0x"
        assert code_at(url, entry["address"], entry["block"] - 1) == "0x"
