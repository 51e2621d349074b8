"""A demand for data of our lane is answered in time, whatever happens to us meanwhile.

given a lane with a committed batch, and a guard with a key of its own
  when a piece of the batch is demanded, of any of the five kinds
    it is answered, and the fee is ours
    it is answered again when it is demanded again
    it is answered by a guard that starts when nine tenths of the window are over
  when a demand cannot be answered
    an operator learns it by log, metric and /ready, and all others are answered
    it is answered as soon as it can be
  when the demand is not ours, or was answered already
    nothing is sent
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.chain import mined_later
from support.liar import liar_of_three
from support.receivers import listening

from corechain.protocol.batch import open_data_file
from corechain.protocol.eip712 import address_word, uint_word
from corechain.protocol.evidence import Demand, Dossier
from corechain.protocol.hashing import keccak
from relayer.conftest import Start
from relayer.demands import (
    ANSWER_WINDOW_S,
    GUARD,
    GUARDED,
    Challenger,
    commit_to,
    committed,
    in_fleet,
    position_of_device,
)
from relayer.support import ADMIN, Chain, RelayerProcess, Sensor, eventually, p256, secp

FIRST = 10**12
"""Wei per gas that nobody else bids."""
LANE = ("gateway", "aggregator", "submitter")
UNGUARDED = "no guard: its bond is unguarded unless another process runs --role guard for it"


@pytest.fixture
def challenger(chain: Chain) -> Challenger:
    return Challenger(chain)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the relayer has its data files."""
    return tmp_path / "data"


@pytest.fixture
def alert_receiver() -> Iterator[tuple[str, list[bytes]]]:
    """The URL of a receiver of alerts, and what was posted to it."""
    with listening() as found:
        yield found


@pytest.fixture
def batch(chain: Chain, folder: Path, sensor: Sensor) -> Dossier:
    """The first batch of our lane."""
    return committed(chain, folder, sensor)


def by_guard(receipt: dict[str, Any]) -> bool:
    return bool(receipt["from"] == GUARD.lower())


def metric(relayer: RelayerProcess, name: str) -> float:
    lines = relayer.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def warnings(relayer: RelayerProcess) -> str:
    return " ".join(relayer.get("/ready").json().get("warnings", []))


def warned(relayer: RelayerProcess, text: str) -> None:
    eventually(lambda: text in warnings(relayer))


def logged(relayer: RelayerProcess, event: str) -> list[dict[str, Any]]:
    return [entry for entry in relayer.events() if entry["event"] == event]


FIRST_ANSWER_GAS = 17_100
"""A guard's first fee opens a slot of storage (EIP-2929: 20,000 for a new value, 2,900 for a
change). Which answer comes first is the guard's to choose."""


def gas_of_answers(receipts: Mapping[str, Any]) -> dict[str, int]:
    """What each answer would cost if it was not the first."""
    place = {
        n: (int(r["blockNumber"], 16), int(r["transactionIndex"], 16)) for n, r in receipts.items()
    }
    first = min(place, key=place.__getitem__)
    return {n: int(r["gasUsed"], 16) - FIRST_ANSWER_GAS * (n == first) for n, r in receipts.items()}


def test_every_kind_of_demand_is_answered_and_earns_its_fee(
    start: Start, chain: Chain, challenger: Challenger, sensor: Sensor, secure_sensor: Sensor
) -> None:
    """By one process with all roles, from the report that it took."""
    relayer = start(**GUARDED)
    in_fleets = [in_fleet(chain, secp(7)), in_fleet(chain, p256(8))]
    sensors = [sensor, secure_sensor, *in_fleets]
    assert relayer.send(*[device.report(4) for device in sensors]).status_code == 202
    eventually(lambda: relayer.get("/v1/batches/1").json().get("state") == "confirmed")
    file = relayer.get(f"/v1/data/{chain.commitments()[1].hex()}").content
    batch = Dossier.of(open_data_file(file)[0])
    behind = 2**32 - 1
    demands = {
        "report": challenger.at(Demand.REPORT, batch, 1),
        "reading": challenger.at(Demand.READING, batch, 5),
        "statistics": challenger.at(Demand.STATISTICS, batch, 6),
        "source": challenger.source(batch, 3),
        "report behind": challenger.at(Demand.REPORT, batch, len(batch.reports)),
        "reading behind": challenger.at(Demand.READING, batch, behind),
        "statistics behind": challenger.at(Demand.STATISTICS, batch, len(batch.leaves)),
        "key": challenger.registration(batch, position_of_device(batch, secure_sensor)),
        "fleet": challenger.registration(batch, position_of_device(batch, in_fleets[0])),
        "key in fleet": challenger.registration(batch, position_of_device(batch, in_fleets[1])),
    }
    receipts = dict(zip(demands, challenger.awaited(*demands.values()), strict=True))
    assert all(by_guard(receipt) for receipt in receipts.values())
    # What the README says that an answer costs; a change is to be seen there.
    assert all(60_000 < gas < 120_000 for gas in gas_of_answers(receipts).values())
    eventually(lambda: metric(relayer, "corechain_guard_answered_total") == len(demands))
    assert metric(relayer, "corechain_guard_demands_open") == 0
    assert challenger.bond() > 0


def test_what_is_demanded_again_is_answered_again(
    start: Start, batch: Dossier, challenger: Challenger
) -> None:
    """It has the id of the first demand: one answer must not do for both."""
    guard = start("guard", **GUARDED)
    first = challenger.at(Demand.READING, batch, 0)
    challenger.awaited(first)
    guard.kill()
    assert challenger.at(Demand.READING, batch, 0) == first
    start("guard", **GUARDED)
    challenger.awaited(first)
    assert challenger.at(Demand.READING, batch, 0) == first
    challenger.awaited(first)
    assert [by_guard(receipt) for receipt in challenger.answers(first)] == [True] * 3


def test_what_is_demanded_again_in_the_block_of_its_answer_is_answered_again(
    start: Start, chain: Chain, batch: Dossier, challenger: Challenger
) -> None:
    start("guard", **GUARDED)
    with mined_later(chain.url):
        challenger.later(Demand.READING, batch, 0)
        chain.rpc("evm_mine")
        eventually(lambda: GUARD.lower() in pool_senders(chain))
        again = challenger.later(Demand.READING, batch, 0)
        chain.rpc("evm_mine")
        receipt = chain.receipt(again)
        assert receipt["status"] == "0x1", "it was mined before the answer"
        demand_id = challenger.demanded(receipt).demand_id
        (answer,) = challenger.answers(demand_id)
        assert answer["blockNumber"] == receipt["blockNumber"]
    challenger.awaited(demand_id)
    assert len(challenger.answers(demand_id)) == 2


def test_a_guard_that_starts_with_a_tenth_of_the_window_left_answers_in_time(
    start: Start, chain: Chain, batch: Dossier, challenger: Challenger
) -> None:
    demands = [challenger.at(kind, batch, 1) for kind in (Demand.REPORT, Demand.STATISTICS)]
    chain.rpc("evm_increaseTime", ANSWER_WINDOW_S * 9 // 10)
    chain.rpc("evm_mine")
    start("guard", **GUARDED)
    challenger.awaited(*demands)


def test_a_demand_whose_deadline_has_passed_is_an_alert_and_nothing_is_sent(
    start: Start, chain: Chain, batch: Dossier, challenger: Challenger
) -> None:
    late = challenger.at(Demand.REPORT, batch, 1)
    chain.rpc("evm_increaseTime", ANSWER_WINDOW_S + 1)
    in_time = challenger.at(Demand.REPORT, batch, 0)
    guard = start("guard", **GUARDED)
    challenger.awaited(in_time)
    assert challenger.is_open(late)
    warned(guard, "too late")
    sent = int(chain.rpc("eth_getTransactionCount", GUARD, "latest"), 16)
    assert sent == 1


def test_a_missing_file_is_an_alert_and_keeps_no_other_demand_from_its_answer(
    start: Start,
    chain: Chain,
    sensor: Sensor,
    challenger: Challenger,
    folder: Path,
    tmp_path: Path,
    alert_receiver: tuple[str, list[bytes]],
) -> None:
    url, posted = alert_receiver
    lost, kept = (committed(chain, folder, sensor) for _ in range(2))
    file = folder / f"{lost.revealed.commitment.hex()}.ccdf"
    shutil.move(file, tmp_path / "elsewhere")
    without = [challenger.at(Demand.READING, lost, at) for at in (0, 1)]
    alerting = {"RELAYER_ALERT_URLS": url, "RELAYER_ALERT_SECRET": "sixteen letters, or more"}
    guard = start("guard", **GUARDED, **alerting, RELAYER_REFUSED_PAUSE_S="0.5")
    challenger.awaited(challenger.source(kept, 0), challenger.at(Demand.READING, kept, 0))
    assert all(challenger.is_open(demand_id) for demand_id in without)
    assert "batch 1, reading" in warnings(guard)
    assert "no data file" in warnings(guard)
    eventually(guard.is_ready)  # a gateway in the same process goes on
    (one, two) = logged(guard, "demand is in danger")
    assert {one["demand"], two["demand"]} == {demand_id.hex() for demand_id in without}
    assert one["reason"] == "no data file"
    assert one["batch"] == 1
    assert metric(guard, "corechain_guard_unanswerable_total") == 2
    assert metric(guard, "corechain_guard_alerts") == 2
    assert 0 < metric(guard, "corechain_guard_deadline_seconds") <= ANSWER_WINDOW_S
    shutil.move(tmp_path / "elsewhere", file)
    challenger.awaited(*without)
    eventually(lambda: metric(guard, "corechain_guard_alerts") == 0)
    assert warnings(guard) == ""
    eventually(lambda: len(posted) >= 4)
    said = sorted((d["type"], d["alert"], d["key"]) for d in map(json.loads, posted))
    keys = sorted(f"0:0x{demand_id.hex()}" for demand_id in without)
    expected = [(what, "demand_in_danger", key) for what in ("fired", "resolved") for key in keys]
    assert said == expected


@pytest.mark.parametrize("content", [b"", b"CCDF", b"\xff" * 4096], ids=["empty", "head", "other"])
def test_a_broken_file_is_an_alert(
    start: Start, batch: Dossier, challenger: Challenger, folder: Path, content: bytes
) -> None:
    path = folder / f"{batch.revealed.commitment.hex()}.ccdf"
    path.write_bytes(content)
    demand_id = challenger.at(Demand.READING, batch, 0)
    guard = start("guard", **GUARDED)
    warned(guard, "broken data file")
    assert challenger.is_open(demand_id)


def test_a_registration_is_answered_without_the_data_file(
    start: Start, chain: Chain, challenger: Challenger, secure_sensor: Sensor, folder: Path
) -> None:
    batch = committed(chain, folder, secure_sensor, in_fleet(chain, secp(9)))
    shutil.rmtree(folder)
    demands = [challenger.registration(batch, at) for at in (0, 1)]
    start("guard", **GUARDED)
    challenger.awaited(*demands)


def test_demands_of_other_lanes_and_of_batches_that_are_not_ours_are_told_apart(
    start: Start, chain: Chain, batch: Dossier, challenger: Challenger
) -> None:
    """Another lane is none of our business; a batch of our lane that we have not made is."""
    chain.send("DataBatches", call("assignLane(uint16,address)", uint_word(1), word_of(ADMIN)))
    chain.send("DataBatches", call("bondLane(uint16)", uint_word(1)))
    other, foreign = batch.header.commitment(b"\1" * 26), batch.header.commitment(b"\2" * 26)
    commit_to(chain, (1 << 32) + 1, other)
    commit_to(chain, 2, foreign)
    challenger.of_batch((1 << 32) + 1, other)
    challenger.of_batch(2, foreign)
    guard = start("guard", **GUARDED)
    challenger.awaited(challenger.at(Demand.READING, batch, 0))
    eventually(lambda: metric(guard, "corechain_guard_demands_open") == 1)
    assert "batch 2, report" in warnings(guard)
    assert metric(guard, "corechain_guard_alerts") == 1


def test_what_somebody_else_answered_needs_nothing_of_us(
    start: Start, chain: Chain, batch: Dossier, challenger: Challenger
) -> None:
    demand_id = challenger.at(Demand.READING, batch, 0)
    challenger.answer(batch, 0)
    guard = start("guard", **GUARDED)
    challenger.awaited(challenger.at(Demand.READING, batch, 1))
    assert not any(by_guard(receipt) for receipt in challenger.answers(demand_id))
    assert metric(guard, "corechain_guard_unanswerable_total") == 0


def test_an_answer_that_comes_second_is_given_up_and_the_next_demand_answered(
    start: Start, chain: Chain, batch: Dossier, challenger: Challenger
) -> None:
    guard = start("guard", **GUARDED, RELAYER_RESEND_AFTER_S="0.2")
    with mined_later(chain.url):
        pending = challenger.later(Demand.READING, batch, 0)
        chain.rpc("evm_mine")
        eventually(lambda: GUARD.lower() in pool_senders(chain))
        theirs = challenger.answer_call(batch, 0)
        chain.send_later("DataBatches", theirs, bid=FIRST)
        chain.rpc("evm_mine")
    demand_id = challenger.demanded(chain.receipt(pending)).demand_id
    assert not by_guard(challenger.awaited(demand_id)[0])
    again = challenger.at(Demand.READING, batch, 0)
    assert again == demand_id
    assert by_guard(challenger.awaited(again)[0])
    assert guard.process is not None
    assert guard.process.poll() is None


def test_fees_rise_with_the_deadline_and_what_they_do_not_reach_is_an_alert(
    start: Start, chain: Chain, batch: Dossier, challenger: Challenger
) -> None:
    """The cap of batches is too low for this chain; that of answers counts from half time on."""
    low = {"RELAYER_MAX_FEE_PER_GAS": "1", "RELAYER_REFUSED_PAUSE_S": "0.2"}
    guard = start("guard", **GUARDED, **low, RELAYER_URGENT_MAX_FEE_PER_GAS="1")
    demand_id = challenger.at(Demand.READING, batch, 0)
    eventually(lambda: logged(guard, "demand will be answered"))
    assert "window nearly over" not in warnings(guard)
    chain.rpc("evm_increaseTime", ANSWER_WINDOW_S * 8 // 10)
    chain.rpc("evm_mine")
    warned(guard, "window nearly over")
    assert challenger.is_open(demand_id)
    guard.kill()
    guard = start("guard", **GUARDED, **low)
    challenger.awaited(demand_id)
    eventually(lambda: warnings(guard) == "")


def test_the_command_lists_what_is_demanded_and_how_it_stands_with_the_answers(
    start: Start, chain: Chain, batch: Dossier, challenger: Challenger
) -> None:
    commit_to(chain, 2, batch.header.commitment(b"\2" * 26))
    unknown = challenger.of_batch(2, batch.header.commitment(b"\2" * 26))
    gateway = start("gateway")
    chain.rpc("evm_increaseTime", 600)
    known = challenger.at(Demand.READING, batch, 3)
    with liar_of_three(chain.url) as urls:
        one, gateway.environment["RELAYER_RPC_URL"] = gateway.environment["RELAYER_RPC_URL"], urls
        first, second = json.loads(gateway.command("demands"))
        gateway.environment["RELAYER_RPC_URL"] = one
    assert (first["demand"], second["demand"]) == ("0x" + unknown.hex(), "0x" + known.hex())
    assert second["answer"] == "ready, not recorded yet"
    assert (second["kind"], second["batch"], second["left_s"]) == ("reading", 1, ANSWER_WINDOW_S)
    assert first["left_s"] <= ANSWER_WINDOW_S - 600
    assert first["answer"].startswith("none: no data file")
    start("guard", **GUARDED)
    challenger.awaited(known)
    # Neither a bus nor a key, whatever else is wrong.
    needed = ("DEPLOYMENT", "DATABASE_URL", "RPC_URL", "DATA_DIR")
    gateway.environment = {
        f"RELAYER_{name}": gateway.environment[f"RELAYER_{name}"] for name in needed
    } | {"RELAYER_GUARD_KEY": "0x1", "RELAYER_LANES": "none"}
    (row,) = json.loads(gateway.command("demands"))
    assert row["demand"] == "0x" + unknown.hex()


def test_without_a_key_the_bond_is_unguarded_and_the_relayer_says_so(start: Start) -> None:
    (entry,) = logged(start(*LANE), UNGUARDED)
    assert entry["level"] == "warning"
    assert entry["setting"] == "RELAYER_GUARD_KEY"
    assert logged(start("gateway"), UNGUARDED) == []


def test_a_key_that_runs_dry_is_an_alert_before_anything_is_demanded(
    start: Start, chain: Chain, batch: Dossier, challenger: Challenger
) -> None:
    chain.rpc("anvil_setBalance", GUARD, "0x1")
    guard = start("guard", **GUARDED, RELAYER_REFUSED_PAUSE_S="0.3")
    warned(guard, f"{GUARD.lower()} has 1 wei")
    demand_id = challenger.at(Demand.READING, batch, 0)
    warned(guard, "answers are not sent")
    eventually(guard.is_ready)
    chain.rpc("anvil_setBalance", GUARD, hex(10**20))
    challenger.awaited(demand_id)


def pool_senders(chain: Chain) -> set[str]:
    pending = chain.rpc("txpool_content")["pending"]
    return {sender.lower() for sender in pending}


def call(signature: str, *words: bytes) -> bytes:
    return keccak(signature.encode())[:4] + b"".join(words)


def word_of(address: str) -> bytes:
    return address_word(bytes.fromhex(address[2:]))
