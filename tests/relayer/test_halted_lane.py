"""A lane that cannot go on stands still alone, says why, and has a way out.

given a nonce of the submitter's key that somebody used by hand
  while that is not final
    the lane waits and says so; a reorg that takes it back lets ours land
  when it is final
    the batch is committed under a fresh nonce, once
given a registration that a reorg takes away before the commit is in a block
  the commit is withdrawn, /ready says so, and it goes on when the device is registered again
given a commitment under our id that is not ours
  the lane halts, the gateway takes reports
  `lanes` shows it, `release` tries again, and a reorg cures it
given a key that is not the lane's
  nothing is signed, /ready says so, and it goes on by itself once the lane is ours
given two processes of one lane
  one is the standby and says so; it takes over when the other dies
"""

import itertools
import json
import os
from collections.abc import Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest
from support.forked import completed

from corechain.protocol.eip712 import address_word, uint_word
from corechain.protocol.hashing import keccak
from corechain.protocol.lanes import lane_of_device
from relayer.conftest import Start
from relayer.support import ADMIN, Chain, RelayerProcess, Sensor, eventually, secp

SUBMITTER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
FINALITY = 64
"""Blocks behind anvil's head that it calls final."""
FAST = {"RELAYER_REFUSED_PAUSE_S": "0.3", "RELAYER_RESEND_AFTER_S": "0.2"}


@pytest.fixture
def manual(chain: Chain) -> Iterator[Chain]:
    """A chain that mines when it is told to."""
    chain.rpc("evm_setAutomine", False)
    yield chain
    chain.rpc("anvil_dropAllTransactions")
    chain.rpc("evm_setAutomine", True)


def metric(relayer: RelayerProcess, name: str, *labels: str) -> float:
    """A value by name and some of its labels; 0 when there is none."""
    for line in relayer.get("/metrics").text.splitlines():
        if line.startswith(name) and all(label in line for label in labels):
            return float(line.rpartition(" ")[2])
    return 0.0


def pool(chain: Chain) -> list[dict[str, str]]:
    pending = chain.rpc("txpool_content")["pending"]
    return [tx for by_nonce in pending.values() for tx in by_nonce.values()]


def called(relayer: RelayerProcess, *command: str) -> CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"]} | dict(relayer.environment)
    return completed("corechain_relayer", command, environment)


def run(relayer: RelayerProcess, *command: str) -> Any:
    done = called(relayer, *command)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_commit_whose_registration_is_gone_is_withdrawn_and_comes_back(
    start: Start, chain: Chain
) -> None:
    key = secp(41)
    chain.register(key)
    relayer = start(**FAST)
    chain.rpc("evm_setAutomine", False)
    try:
        assert relayer.send(Sensor(key, chain.domain).report()).status_code == 202
        eventually(lambda: pool(chain))
        chain.reorg(1)
        eventually(lambda: [tx for tx in pool(chain) if tx["input"] == "0x"])
        chain.rpc("evm_mine")
        assert key.identity.device.hex() in eventually(lambda: relayer.reason("submitter"))
        assert metric(relayer, "corechain_intents_held", 'reason="RegistrationGone"') == 1
        assert chain.commitments() == {}
    finally:
        chain.rpc("evm_setAutomine", True)
    chain.register(key)
    chain.rpc("anvil_mine", hex(FINALITY + 2))
    eventually(chain.commitments)
    eventually(lambda: metric(relayer, "corechain_intents_held", "RegistrationGone") == 0)


def stolen_nonce(relayer: RelayerProcess, sensor: Sensor, chain: Chain) -> None:
    """Ours is signed and sent; a transaction by hand takes its nonce in the next block."""
    assert relayer.send(sensor.report()).status_code == 202
    (ours,) = eventually(lambda: pool(chain))
    chain.rpc("anvil_dropAllTransactions")
    by_hand = {"from": SUBMITTER, "to": ADMIN, "value": "0x1", "nonce": ours["nonce"]}
    tip = hex(10**10)
    fees = {"maxFeePerGas": hex(10**11), "maxPriorityFeePerGas": tip, "gas": hex(50_000)}
    chain.rpc("eth_sendTransaction", by_hand | fees)
    chain.rpc("evm_mine")


def test_a_nonce_used_by_hand_is_waited_for_until_that_is_final_then_replaced(
    start: Start, sensor: Sensor, manual: Chain
) -> None:
    relayer = start(**FAST | {"RELAYER_RESEND_AFTER_S": "30"})
    stolen_nonce(relayer, sensor, manual)
    held = ("corechain_intents_held", 'reason="WaitsForFinality"')
    eventually(lambda: metric(relayer, *held) == 1)
    assert relayer.send(sensor.report()).status_code == 202
    assert manual.commitments() == {}
    (lane,) = run(relayer, "lanes")
    assert (lane["pending"], lane["waits_for_finality"], lane["halted"]) == (1, 1, [])

    manual.rpc("anvil_mine", hex(FINALITY + 1))
    manual.rpc("evm_setAutomine", True)
    eventually(lambda: len(manual.commitments()) >= 1)
    eventually(lambda: metric(relayer, *held) == 0)
    assert metric(relayer, "corechain_nonces_spent_total") == 1
    # The process never stopped, and a fresh one has nothing to complain about.
    assert relayer.get("/health").status_code == 200
    eventually(relayer.is_ready)


def test_a_reorg_that_takes_the_foreign_transaction_back_lets_ours_land(
    start: Start, sensor: Sensor, manual: Chain
) -> None:
    relayer = start(**FAST | {"RELAYER_RESEND_AFTER_S": "1"})
    stolen_nonce(relayer, sensor, manual)
    eventually(lambda: metric(relayer, "corechain_nonces_spent_total") == 1)
    manual.reorg(1)
    manual.rpc("anvil_dropAllTransactions")
    (ours,) = eventually(lambda: [tx for tx in pool(manual) if tx["input"] != "0x"])
    assert ours["nonce"] == "0x0"
    manual.rpc("evm_mine")
    eventually(lambda: relayer.get("/v1/batches/1").json()["state"] == "confirmed")
    assert list(manual.commitments()) == [1]


def other_commitment(chain: Chain) -> None:
    commit = keccak(b"commit(uint48,bytes26)")[:4]
    chain.send("DataBatches", commit + uint_word(1) + b"\7" * 26 + bytes(6), SUBMITTER)


def halted(relayer: RelayerProcess) -> bool:
    document = relayer.get("/ready").json()
    return bool(document["loops"].get("submitter") == "halted")


def test_another_commitment_under_our_id_halts_its_lane_alone_until_a_reorg_cures_it(
    start: Start, sensor: Sensor, chain: Chain
) -> None:
    first = start("gateway", "aggregator", RELAYER_MAX_AGE_S="0.1")
    assert first.send(sensor.report()).status_code == 202
    eventually(lambda: first.get("/v1/batches/1").status_code == 200)
    other_commitment(chain)
    relayer = start("gateway", "submitter", ready=False, **FAST)
    eventually(lambda: halted(relayer))
    reason = eventually(lambda: relayer.reason("submitter"))
    assert "committed in its place" in reason
    assert "corechain relayer release" in reason
    assert metric(relayer, "corechain_intents_held", 'reason="OtherCommitment"') == 1
    assert relayer.send(sensor.report()).status_code == 202  # the gateway does not care

    relayer.kill()  # the halt outlives the process
    again = start("gateway", "submitter", ready=False, **FAST)
    eventually(lambda: halted(again))
    (lane,) = run(again, "lanes")
    (halt,) = lane["halted"]
    assert (halt["intent"], halt["kind"]) == ("batch:1", "OtherCommitment")
    # Tried again, it finds the same and halts again.
    assert run(again, "release") == {"released": ["batch:1"]}
    eventually(lambda: run(again, "lanes")[0]["halted"])

    chain.reorg(1)
    eventually(lambda: 1 in chain.commitments())
    eventually(lambda: not halted(again))
    assert b"\7" * 26 not in chain.commitments().values()


def test_releasing_what_does_not_stand_still_releases_nothing(
    relayer: RelayerProcess, sensor: Sensor, chain: Chain
) -> None:
    assert run(relayer, "release") == {"released": []}
    assert run(relayer, "lanes") == []
    assert relayer.send(sensor.report()).status_code == 202
    eventually(lambda: 1 in chain.commitments())
    assert run(relayer, "release", "--intent", "batch:1") == {"released": []}
    assert run(relayer, "release", "--queue", "lane:0") == {"released": []}


@pytest.mark.parametrize("names", [("--intent", "batch:9"), ("--queue", "lanes:0")])
def test_releasing_what_is_not_in_the_journal_is_refused(
    relayer: RelayerProcess, names: tuple[str, str]
) -> None:
    """A name that is mistyped is not said to stand still no longer."""
    done = called(relayer, "release", *names)
    assert (done.returncode, done.stdout) == (1, "")
    what = "transaction" if names[0] == "--intent" else "queue"
    assert done.stderr.startswith(f"error: no {what} {names[1]} in the journal")


def test_a_key_that_is_not_the_lanes_says_so_and_goes_on_once_it_is(
    start: Start, chain: Chain
) -> None:
    keys = (secp(number) for number in itertools.count(300))
    key = next(key for key in keys if lane_of_device(key.identity.device, 8) == 7)
    chain.register(key)
    sensor = Sensor(key, chain.domain)
    relayer = start(ready=False, RELAYER_LANE="7", RELAYER_LANES="8", **FAST)
    eventually(lambda: halted(relayer))
    assert not relayer.is_ready()
    reason = eventually(lambda: relayer.reason("submitter"))
    assert SUBMITTER.lower() in reason
    assert "lane 7" in reason
    assert metric(relayer, "corechain_intents_held", 'reason="NotLaneSubmitter"') == 1
    assert relayer.send(sensor.report()).status_code == 202
    said = [e for e in relayer.events() if e["event"].startswith("not the lane's submitter")]
    assert len(said) == 1
    assert chain.rpc("eth_getTransactionCount", SUBMITTER, "pending") == "0x0"

    bond_lane(chain, 7)
    eventually(lambda: not halted(relayer))
    eventually(lambda: len(chain.commitments()) == 1)


def bond_lane(chain: Chain, lane: int) -> None:
    """What the admin does for a new lane."""
    submitter = bytes.fromhex(SUBMITTER[2:])
    assign = keccak(b"assignLane(uint16,address)")[:4]
    chain.send("DataBatches", assign + uint_word(lane) + address_word(submitter))
    contract = chain.deployment.address("DataBatches")
    approve = keccak(b"approve(address,uint256)")[:4]
    chain.send("CoreToken", approve + address_word(contract) + uint_word(2**96 - 1))
    chain.send("DataBatches", keccak(b"bondLane(uint16)")[:4] + uint_word(lane))


def test_a_lane_that_is_closed_while_we_run_is_named_too(
    start: Start, sensor: Sensor, chain: Chain
) -> None:
    relayer = start(**FAST)
    assert relayer.send(sensor.report()).status_code == 202
    eventually(lambda: len(chain.commitments()) == 1)
    chain.send("DataBatches", keccak(b"closeLane(uint16)")[:4] + uint_word(0), SUBMITTER)
    assert relayer.send(sensor.report()).status_code == 202
    eventually(lambda: halted(relayer))
    eventually(lambda: "closed" in relayer.reason("submitter"))


def test_a_standby_says_what_it_is_and_takes_over(
    start: Start, sensor: Sensor, chain: Chain
) -> None:
    leader = start(**FAST)
    eventually(lambda: leader.get("/ready").json()["loops"].get("submitter") == "running")
    standby = start("aggregator", "submitter", **FAST)
    roles = ("aggregator", "submitter")
    loops = eventually(
        lambda: (
            (found := standby.get("/ready").json()["loops"])
            and all(found.get(role) == "standby" for role in roles)
            and found
        )
    )
    assert loops["submitter"] == "standby"
    eventually(standby.is_ready)
    state = ("corechain_loop_state", 'loop="submitter"', 'state="standby"')
    assert (metric(standby, *state), metric(leader, *state)) == (1, 0)
    ended = [e for e in standby.events() if e["event"] == "session ended"]
    assert len(ended) == len(roles)  # once each, not at every try

    leader.kill()
    eventually(lambda: metric(standby, *state) == 0)
    gateway = start("gateway")
    assert gateway.send(sensor.report()).status_code == 202
    eventually(lambda: len(chain.commitments()) == 1)
