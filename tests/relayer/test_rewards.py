"""The proposer's root is recomputed from chain and data files, and only then proposed.

given committed batches of two owners' devices
  when rewards are proposed
    the root on chain is the one of their points
  when they are proposed again
    the second epoch adds to the first
  when one device is a bridge's
    its points count half
  when nothing new is there, its last block is not, the pool is over the cap, or a file is gone
    the command says so and proposes nothing
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.forked import completed
from support.liar import liar_of_three

from corechain.deployment import DeployedContract, Deployment
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.rewards import Owner, RewardTree
from corechain.service.rpc import Block
from corechain_relayer.rewards.command import ProposalRefused, Proposer
from corechain_relayer.rewards.history import History
from relayer.bridges import MARKED
from relayer.conftest import Start
from relayer.support import ADMIN, Chain, Sensor, eventually, secp

# Anvil's account 2, the proposer of deployments/ethereum-local.yaml.
PROPOSER_KEY = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
OWNER = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"
POOL = 3000

Propose = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def propose(environment: dict[str, str]) -> Propose:
    # It has nothing to do with a bus.
    needed = {name: value for name, value in environment.items() if name != "RELAYER_BUS_URL"}

    def run(pool: int = POOL, nodes: str = "") -> "subprocess.CompletedProcess[str]":
        asked = {"RELAYER_RPC_URL": nodes} if nodes else {}
        own = {"PATH": os.environ["PATH"], "RELAYER_PROPOSER_KEY": PROPOSER_KEY}
        words = ["propose-rewards", "--pool", str(pool)]
        return completed("corechain_relayer", words, own | needed | asked)

    return run


def address(text: str) -> Owner:
    return Owner(bytes.fromhex(text[2:]))


def committed(chain: Chain, batches: int) -> None:
    eventually(lambda: len(chain.commitments()) >= batches)


def end_of_window(chain: Chain) -> None:
    """The root becomes active: the next one may be proposed."""
    chain.rpc("evm_increaseTime", 100)
    chain.rpc("evm_mine")


def test_roots_follow_points_and_add_up(start: Start, chain: Chain, propose: Propose) -> None:
    relayer = start()
    bridged = Secp256k1Key(MARKED[0].to_bytes(32, "big"))
    one, two = Sensor(secp(1), chain.domain), Sensor(bridged, chain.domain)
    chain.register(one.key, ADMIN)
    chain.register(two.key, OWNER)
    items = [one.observation(), one.observation(metric=3, value=5000)]
    assert relayer.send(one.sign(items, 1), two.report(1)).status_code == 202
    committed(chain, 1)

    first = propose()
    assert first.returncode == 0, first.stderr
    done = json.loads(first.stdout)
    amounts = {address(ADMIN): 2400, address(OWNER): 600}
    assert done["root"] == "0x" + RewardTree(amounts).root.hex()
    assert (done["epoch"], done["emission"]) == (1, str(POOL))
    assert (done["bridge_weight_bps"], len(done["rules_hash"])) == (5_000, 66)

    end_of_window(chain)
    assert relayer.send(two.report(1)).status_code == 202
    committed(chain, 2)
    with liar_of_three(chain.url) as urls:
        second = propose(nodes=urls)
    assert second.returncode == 0, second.stderr
    amounts[address(OWNER)] += POOL
    assert json.loads(second.stdout)["root"] == "0x" + RewardTree(amounts).root.hex()


def test_nothing_new_earns_nothing(propose: Propose, chain: Chain) -> None:
    done = propose()
    assert done.returncode == 1
    assert "error: no rewarded reading was committed after block 0" in done.stderr


async def test_blocks_that_are_not_there_yet_are_in_no_proposal() -> None:
    """The contract takes it, and no root would reproduce it once they have data."""
    nothing: Any = None

    class NineBlocks:
        async def head(self) -> Block:
            return Block(9, b"", b"", 0, 0)

    blocks: Any = NineBlocks()
    proposer = Proposer(nothing, nothing, blocks, nothing, nothing, nothing)
    with pytest.raises(ProposalRefused, match="block 10 is not there yet: the newest one is 9"):
        await proposer._compute(POOL, 10)


@pytest.mark.parametrize(("through", "last"), [(2**64 - 1, 12), (10, 10)])
async def test_logs_are_asked_for_as_far_as_their_reader_has_seen_blocks(
    through: int, last: int
) -> None:
    """Not of blocks that will never be, and not less from a node that is behind: a device that has
    moved would be its old owner's."""
    asked: list[int] = []

    class NineBlocks:
        async def head(self) -> Block:
            return Block(9, b"", b"", 0, 0)

        async def logs(self, *what: Any) -> list[Any]:
            asked.append(what[-1])
            assert len(asked) < 20
            return []

    contracts = {"DeviceRegistry": DeployedContract("DeviceRegistry", bytes(20), 1)}
    blocks: Any = NineBlocks()
    history = History(blocks, Deployment(31_337, contracts), 5, 12)
    assert await history.owners(through) == {}
    assert max(asked) == last


def test_a_pool_over_the_cap_is_refused_before_anything_is_signed(
    start: Start, sensor: Sensor, chain: Chain, propose: Propose
) -> None:
    assert start().send(sensor.report()).status_code == 202
    committed(chain, 1)
    done = propose(10**30)
    assert done.returncode == 1
    assert "EmissionOverCap" in done.stderr
    assert "transaction signed" not in done.stderr


def test_without_a_data_file_nothing_is_proposed(
    start: Start, sensor: Sensor, chain: Chain, propose: Propose, tmp_path: Path
) -> None:
    assert start().send(sensor.report()).status_code == 202
    committed(chain, 1)
    (file,) = (tmp_path / "data").glob("*.ccdf")
    content = file.read_bytes()
    file.unlink()
    assert "cannot be read" in propose().stderr
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = propose()
    assert done.returncode == 1
    assert f"the data file {file.name}" in done.stderr


def test_a_proposer_without_a_key_is_a_wrong_setting(environment: dict[str, str]) -> None:
    words = ["propose-rewards", "--pool", "1"]
    done = completed("corechain_relayer", words, {"PATH": os.environ["PATH"]} | environment)
    assert done.returncode == 2
    assert done.stderr == "error: RELAYER_PROPOSER_KEY is not set\n"
