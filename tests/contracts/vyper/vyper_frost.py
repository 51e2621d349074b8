"""The example in Vyper, compiled by Vyper and run on anvil. `make test-vyper` runs it.

given a cover that was paid in before its time
  a cold reading pays the grower once nobody can challenge its batch any more
  a warm range, another device's, another lane's, a bond that came later and a claim too late pay
  nobody
given the cover without one of its assertions, or with a border of one moved
  one of these tests fails
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.bench import ROOT, fresh_bench
from support.drafts import HOUR_S, draft, hourly, leaves_of
from support.stage import ANSWER_S, WINDOW_S, Stage, build_stage
from web3.exceptions import ContractLogicError

from corechain.devnet.servers import rpc
from corechain.protocol.evidence import Dossier
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import pack_key
from corechain.protocol.statistics import locate

VYPER = Path(os.environ.get("VYPER", ROOT / ".corechain" / "vyper" / "bin" / "vyper"))
SOURCE = ROOT / "examples" / "vyper" / "FrostCover.vy"
CELL, PAYOUT, DAY_S = 0x872A1072FFFFFFF, 10**18, 24 * HOUR_S
COLD, WARM = Secp256k1Key(bytes(31) + b"\x51"), Secp256k1Key(bytes(31) + b"\x52")
ZERO = Secp256k1Key(bytes(31) + b"\x53")
FINAL_S = WINDOW_S + ANSWER_S
Compiled = dict[str, Any]


def made_of(source: Path) -> Compiled:
    command = [str(VYPER), "-p", str(SOURCE.parent), "-f", "combined_json", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Compiled] = json.loads(done.stdout)
    return next(made for name, made in found.items() if name.endswith(source.name))


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return made_of(SOURCE)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with fresh_bench(tmp_path_factory.mktemp("frost")) as bench:
        yield build_stage(bench)


class Cover:
    """The contract over a day that begins in an hour, and batches of three devices on it."""

    def __init__(self, stage: Stage, compiled: Compiled, key: Secp256k1Key, lane: int = 0) -> None:
        self.stage, self.key, self.bench = stage, key, stage.bench
        self.bench.pass_time(1)  # the clock is back where the stage was built
        self.compiled, self.lane = compiled, lane
        self.start = stage.bench.now + HOUR_S
        self.until = self.start + 30 * DAY_S
        self.grower = self.bench.account("grower").address
        self.underwriter = self.bench.account("underwriter").address
        call = self.deployment().transact({"from": self.underwriter, "value": PAYOUT})
        place = self.bench.web3.eth.wait_for_transaction_receipt(call)["contractAddress"]
        self.contract = self.bench.web3.eth.contract(address=place, abi=compiled["abi"])

    def deployment(self, **terms: int) -> Any:
        found = {"start": self.start, "end": self.start + DAY_S, "until": self.until} | terms
        web3 = self.bench.web3
        factory = web3.eth.contract(abi=self.compiled["abi"], bytecode=self.compiled["bytecode"])
        device = web3.to_checksum_address(self.key.identity.device)
        address = self.stage.batches.address
        return factory.constructor(address, self.lane, device, CELL, *found.values(), self.grower)

    def batch(self, number: int = 1) -> Dossier:
        days = {COLD: -3, WARM: 5, ZERO: 0}
        leaves = [
            leaf
            for key, value in days.items()
            for leaf in leaves_of(key, hourly(self.start, 6, value=value))
        ]
        return draft(number, sorted(leaves), [b"no reports are needed for this"])

    def committed(self) -> tuple[Dossier, int]:
        """A batch, and the last second in which it can be challenged."""
        made = self.batch()
        self.bench.mine_at(self.start + 6 * HOUR_S)
        self.stage.commit(made)
        return made, self.bench.now + FINAL_S

    def claim(self, of: Dossier) -> Any:
        device, end = self.key.identity.device, self.start + DAY_S
        low, high = (pack_key(1, CELL, device, at) for at in (self.start, end))
        start, behind = locate(of.leaves, low, high)
        proof = of.statistics.range_proof(start, behind)
        header, root = of.revealed.words()
        leaves, nodes = b"".join(proof.leaves), b"".join(node.pack() for node in proof.nodes)
        return self.contract.functions.claim(header, root, start, behind, leaves, nodes)

    def refused(self, call: Any, why: str) -> None:
        with pytest.raises(ContractLogicError, match=why):
            call.call()

    def refused_at(self, second: int, call: Any) -> None:
        self.bench.next_at(second)
        with pytest.raises(AssertionError, match="reverted"):
            self.bench.send(self.stage.challenger, call)

    def pays_at(self, second: int, call: Any, whom: str) -> None:
        before = self.bench.web3.eth.get_balance(whom)
        self.bench.next_at(second)
        gas = self.bench.send(self.stage.challenger, call)
        assert self.bench.web3.eth.get_balance(whom) == before + PAYOUT
        print(f"the Vyper example pays: {gas:,} gas")


def a_cold_reading_pays_when_nobody_can_challenge_it(stage: Stage, compiled: Compiled) -> None:
    cover = Cover(stage, compiled, COLD)
    made, challenged_until = cover.committed()
    cover.refused(cover.claim(made), "NotFinal")
    cover.refused_at(challenged_until, cover.claim(made))
    cover.pays_at(challenged_until + 1, cover.claim(made), cover.grower)
    cover.refused(cover.contract.functions.expire(), "NotNow")


def a_claim_comes_in_time_or_never(stage: Stage, compiled: Compiled) -> None:
    cover = Cover(stage, compiled, COLD)
    made, _ = cover.committed()
    cover.refused_at(cover.until - 1, cover.contract.functions.expire())
    cover.pays_at(cover.until, cover.claim(made), cover.grower)
    late = Cover(stage, compiled, COLD)
    cover.refused_at(late.until, late.contract.functions.expire())
    stage.bench.mine_at(late.until + 1)
    late.refused(late.claim(late.batch()), "NotNow")
    late.pays_at(late.until + 2, late.contract.functions.expire(), late.underwriter)


def what_is_not_cold_or_not_sure_pays_nobody(stage: Stage, compiled: Compiled) -> None:
    warm, zero = Cover(stage, compiled, WARM), Cover(stage, compiled, ZERO)
    zero.start = warm.start
    made, challenged_until = warm.committed()
    stage.bench.mine_at(challenged_until + 1)
    warm.refused(warm.claim(made), "NotCold")
    warm.refused(_as(warm, COLD).claim(made), keccak(b"RangeIncomplete(uint32)")[:4].hex())
    other = Cover(stage, compiled, COLD, lane=1)
    other.start = warm.start
    stage.bench.mine_at(other.start + 3 * DAY_S)
    other.refused(other.claim(made), "InvalidProof")


def freezing_begins_below_zero(stage: Stage, compiled: Compiled) -> None:
    zero = Cover(stage, compiled, ZERO)
    made, challenged_until = zero.committed()
    stage.bench.mine_at(challenged_until + 1)
    zero.refused(zero.claim(made), "NotCold")


def a_bond_answers_for_what_came_after_it(stage: Stage, compiled: Compiled) -> None:
    cover, calls, bench = Cover(stage, compiled, COLD), stage.batches.functions, stage.bench
    made, _ = cover.committed()
    bench.send(stage.submitter, calls.closeLane(0))
    bench.pass_time(WINDOW_S + 2)
    bench.send(stage.submitter, calls.withdrawBond(0))
    bench.pass_time(FINAL_S)
    cover.refused(cover.claim(made), "NoBond")
    following = cover.batch(2)
    word = following.revealed.commitment
    bench.send(stage.submitter, calls.assignLane(0, stage.submitter.address))
    rpc(bench.url, "evm_setAutomine", False)
    sender = {"from": stage.submitter.address, "gas": 10**6}
    calls.bondLane(0).transact(sender)
    calls.commit(2, word).transact(sender)
    rpc(bench.url, "evm_mine")
    rpc(bench.url, "evm_setAutomine", True)
    committed_at = bench.now
    cover.refused(cover.claim(made), "NoBond")
    cover.pays_at(committed_at + FINAL_S + 1, cover.claim(following), cover.grower)


def terms_that_nobody_can_claim_by_are_none(stage: Stage, compiled: Compiled) -> None:
    cover = Cover(stage, compiled, COLD)
    soon, sender = stage.bench.now + 100, {"from": cover.underwriter, "value": 1}
    for wrong in ({"end": cover.start - 1}, {"until": cover.start + DAY_S}, {"start": 1}):
        with pytest.raises(ContractLogicError, match="InvalidTerms"):
            cover.deployment(**wrong).estimate_gas(sender)
    for at, status in ((soon, 0), (soon + 1, 1)):
        stage.bench.next_at(at)
        call = cover.deployment(start=soon + 2 * status, end=soon + 2 * status)
        done = call.transact(sender | {"gas": 3_000_000})
        assert stage.bench.web3.eth.wait_for_transaction_receipt(done)["status"] == status


Scenario = Callable[[Stage, Compiled], None]
SCENARIOS: list[Scenario] = [
    terms_that_nobody_can_claim_by_are_none,
    a_cold_reading_pays_when_nobody_can_challenge_it,
    a_claim_comes_in_time_or_never,
    what_is_not_cold_or_not_sure_pays_nobody,
    freezing_begins_below_zero,
    a_bond_answers_for_what_came_after_it,
]


def played(scenario: Scenario, stage: Stage, compiled: Compiled) -> None:
    """On the stage as it was built, which is put back."""
    before = rpc(stage.bench.url, "evm_snapshot")
    try:
        scenario(stage, compiled)
    finally:
        rpc(stage.bench.url, "evm_setAutomine", True)
        rpc(stage.bench.url, "evm_revert", before)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda found: found.__name__)
def test_the_cover(scenario: Scenario, built: Stage, compiled: Compiled) -> None:
    played(scenario, built, compiled)


BORDERS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
SAME = "found.count != 0"
"""Without it nothing is another: the least of no readings is zero, which is not cold."""


def mutants() -> dict[str, str]:
    """Sources, each with one change."""
    text, found = SOURCE.read_text(), dict[str, str]()
    for line in re.finditer(r"^    assert (.*), (\"\w+\")$", text, re.MULTILINE):
        start, end = line.span(1)
        for part in re.finditer(r"[^ ].*?(?= and |$)", line[1]):
            if part[0].removeprefix("and ") != SAME:
                bare = part[0].removeprefix("and ")
                changed = line[1].replace(bare, "True")
                found[f"{bare} left out"] = text[:start] + changed + text[end:]
        for sign in re.finditer(r" ([<>]=?) ", line[1]):
            place, other = start + sign.start(1), BORDERS[sign[1]]
            changed = text[:place] + other + text[place + len(sign[1]) :]
            found[f"{line[1]}: {other} for {sign[1]}"] = changed
    return found


MUTANTS = mutants()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_cover_with_one_check_less_is_noticed(name: str, built: Stage, tmp_path: Path) -> None:
    source = tmp_path / SOURCE.name
    source.write_text(MUTANTS[name])
    compiled = made_of(source)
    for scenario in SCENARIOS:
        try:
            played(scenario, built, compiled)
        except (AssertionError, pytest.fail.Exception, ContractLogicError):
            return
    pytest.fail(f"nothing notices {name}")


def _as(cover: Cover, key: Secp256k1Key) -> Cover:
    """The same cover, shown another device's range."""
    other = object.__new__(Cover)
    other.__dict__ |= cover.__dict__ | {"key": key}
    return other
