"""`ape run deploy` as a user runs it, as a process, against a real chain.

given an activated environment and nothing else of ours in it
├── `ape compile` and `ape run deploy` find compiler and node
├── killed in the middle, with a transaction on its way: the next run completes the manifest
└── a node that forgot the past asks for the block
"""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from ape_runs import LOCAL, REPOSITORY, is_true, refused, run, run_whole

from corechain.deployment import load_deployment
from corechain.devnet.servers import AnvilServer, rpc

# Compiled by now: two that compile at once would write the same file.
pytestmark = pytest.mark.usefixtures("deployed_home")


def test_ape_finds_compiler_and_node_from_the_activated_environment(
    user: dict[str, str], tmp_path: Path
) -> None:
    compiled = run_whole(user, "compile")
    assert compiled.returncode == 0, compiled.stderr
    manifest = tmp_path / "31337.json"
    done = run_whole(user, "run", "deploy", "--network", LOCAL, DEPLOY_MANIFEST=str(manifest))
    assert done.returncode == 0, done.stderr
    assert load_deployment(manifest).first_block > 0


def test_a_killed_run_is_completed_by_the_next_one(user: dict[str, str], tmp_path: Path) -> None:
    manifest = tmp_path / "31337.json"
    # Blocks come by the clock, so that the kill meets a transaction that is in none yet.
    with AnvilServer(tmp_path / "anvil", block_time_s=1) as anvil:
        variables = {**user, "APE_FOUNDRY_HOST": anvil.url, "DEPLOY_MANIFEST": str(manifest)}
        command = ["ape", "run", "deploy", "--network", LOCAL]
        with subprocess.Popen(
            command, env=variables, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        ) as popen:
            assert popen.stdout is not None
            for line in popen.stdout:
                if line.startswith("  CoreToken"):
                    _wait_for_pending(anvil.url)
                    popen.send_signal(signal.SIGKILL)
                    break
        assert manifest.exists(), "the run ended by itself, before the kill"
        left = json.loads(manifest.read_text())
        assert sorted(left["contracts"]) == ["BatchChallenges", "CoreToken", "DeviceRegistry"]
        assert left["finished"] is False
        done = run(variables, "run", "deploy", "--network", LOCAL)
        assert done.returncode == 0, done.stderr
        is_true(anvil.url, json.loads(manifest.read_text()), left)


def test_a_node_that_forgot_the_past_asks_for_the_block(
    user: dict[str, str], tmp_path: Path
) -> None:
    """anvil keeps blocks but no states through a restart."""
    manifest = tmp_path / "31337.json"
    with AnvilServer(tmp_path / "anvil", keep_state=True) as anvil:
        local = {**user, "APE_FOUNDRY_HOST": anvil.url, "DEPLOY_MANIFEST": str(manifest)}
        assert run(local, "run", "deploy", "--network", LOCAL).returncode == 0
        rpc(anvil.url, "anvil_mine", hex(300))
        anvil.stop()
        manifest.unlink()
        anvil.start()
        said = refused(local, "--network", LOCAL)
        assert "DeviceRegistry is at 0x" in said
        assert "--first-block N" in said
        assert not manifest.exists()
        done = run(local, "run", "deploy", "--network", LOCAL, "--first-block", "7")
        assert done.returncode == 0, done.stderr
    entries = json.loads(manifest.read_text())["contracts"].values()
    assert [entry["block"] for entry in entries] == [7] * 8


def _wait_for_pending(url: str) -> None:
    account = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

    def count(block: str) -> int:
        return int(rpc(url, "eth_getTransactionCount", account, block), 16)

    while count("pending") == count("latest"):
        pass
