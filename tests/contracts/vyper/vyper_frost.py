"""The example in Vyper, compiled by Vyper and run on anvil. `make test-vyper` runs it.

given a cover that was paid in before its time
  a cold reading pays the grower once nobody can challenge its batch any more
  a warm range, another device's, a lane without a bond and a claim too late pay nobody
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.bench import ROOT, Bench, fresh_bench
from support.drafts import HOUR_S, draft, hourly, leaves_of
from support.stage import ANSWER_S, WINDOW_S, Stage, build_stage
from web3.exceptions import ContractLogicError

from corechain.protocol.evidence import Dossier
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import pack_key
from corechain.protocol.statistics import locate

VYPER = Path(os.environ.get("VYPER", ROOT / ".corechain" / "vyper" / "bin" / "vyper"))
CELL, PAYOUT = 0x872A1072FFFFFFF, 10**18
COLD, WARM = Secp256k1Key(bytes(31) + b"\x51"), Secp256k1Key(bytes(31) + b"\x52")


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    folder = ROOT / "examples" / "vyper"
    command = [str(VYPER), "-p", str(folder), "-f", "combined_json", str(folder / "FrostCover.vy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return next(made for name, made in found.items() if name.endswith("FrostCover.vy"))


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    with fresh_bench(tmp_path) as bench:
        yield build_stage(bench)


class Cover:
    """The contract over a day that begins in an hour, and a batch of two devices on it."""

    def __init__(self, stage: Stage, compiled: dict[str, Any], key: Secp256k1Key) -> None:
        self.stage, self.key, self.bench = stage, key, stage.bench
        self.start = stage.bench.now + HOUR_S
        self.until = self.start + 30 * 86_400
        web3 = self.bench.web3
        self.grower = self.bench.account("grower").address
        device = web3.to_checksum_address(key.identity.device)
        factory = web3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
        day = self.start, self.start + 24 * HOUR_S
        given = (stage.batches.address, 0, device, CELL, *day, self.until, self.grower)
        self.underwriter = sender = self.bench.account("underwriter").address
        call = factory.constructor(*given).transact({"from": sender, "value": PAYOUT})
        place = web3.eth.wait_for_transaction_receipt(call)["contractAddress"]
        self.contract = web3.eth.contract(address=place, abi=compiled["abi"])

    def batch(self) -> Dossier:
        cold = leaves_of(COLD, hourly(self.start, 6, value=-3))
        warm = leaves_of(WARM, hourly(self.start, 6, value=5))
        made = draft(1, sorted(cold + warm), [b"no reports are needed for this"])
        self.bench.mine_at(self.start + 6 * HOUR_S)
        self.stage.commit(made)
        return made

    def claim(self, of: Dossier) -> Any:
        device, end = self.key.identity.device, self.start + 24 * HOUR_S
        low, high = (pack_key(1, CELL, device, at) for at in (self.start, end))
        start, behind = locate(of.leaves, low, high)
        proof = of.statistics.range_proof(start, behind)
        header, root = of.revealed.words()
        leaves, nodes = b"".join(proof.leaves), b"".join(node.pack() for node in proof.nodes)
        return self.contract.functions.claim(header, root, start, behind, leaves, nodes)

    def refused(self, call: Any, why: str) -> None:
        with pytest.raises(ContractLogicError, match=why):
            call.call()

    def balance(self, bench: Bench) -> int:
        return int(bench.web3.eth.get_balance(self.grower))


def test_a_cold_reading_pays_when_nobody_can_challenge_it(stage: Stage, compiled: Any) -> None:
    cover = Cover(stage, compiled, COLD)
    made = cover.batch()
    cover.refused(cover.claim(made), "NotFinal")
    stage.bench.pass_time(WINDOW_S + ANSWER_S + 1)
    before = cover.balance(stage.bench)
    gas = stage.bench.send(stage.challenger, cover.claim(made))
    assert cover.balance(stage.bench) == before + PAYOUT
    print(f"claim of the Vyper example: {gas:,} gas")
    cover.refused(cover.contract.functions.expire(), "NotNow")


def test_what_is_not_cold_or_not_sure_pays_nobody(stage: Stage, compiled: Any) -> None:
    cover = Cover(stage, compiled, WARM)
    made = cover.batch()
    stage.bench.pass_time(WINDOW_S + ANSWER_S + 1)
    cover.refused(cover.claim(made), "NotCold")
    cover.refused(_as(cover, COLD).claim(made), keccak(b"RangeIncomplete(uint32)")[:4].hex())
    close = stage.batches.functions
    stage.bench.send(stage.submitter, close.closeLane(0))
    stage.bench.pass_time(WINDOW_S + 2)
    stage.bench.send(stage.submitter, close.withdrawBond(0))
    cover.refused(cover.claim(made), "NoBond")
    stage.bench.mine_at(cover.until + 1)
    cover.refused(cover.claim(made), "NotNow")
    before = stage.bench.web3.eth.get_balance(cover.underwriter)
    stage.bench.send(stage.challenger, cover.contract.functions.expire())
    assert stage.bench.web3.eth.get_balance(cover.underwriter) == before + PAYOUT


def _as(cover: Cover, key: Secp256k1Key) -> Cover:
    """The same cover, shown another device's range."""
    other = object.__new__(Cover)
    other.__dict__ |= cover.__dict__ | {"key": key}
    return other
