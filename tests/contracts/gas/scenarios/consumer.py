"""A cover for a month: one device of forty, in thirty batches of a day, proven and paid."""

from typing import Any

from support.bench import Bench, Measured
from support.drafts import CELL, HOUR_S, draft, hourly, leaves_of
from support.stage import ANSWER_S, WINDOW_S, Stage, build_stage

from corechain.answers import step_abi
from corechain.protocol.archive import Place
from corechain.protocol.evidence import Dossier
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.reading import pack_key
from corechain.protocol.statistics import locate

DAYS, DEVICES, DAY_S = 30, 40, 86_400
PREMIUM, PAYOUT = 10**16, 10**18
FAR = 2_030_000_000
"""The second in which the month begins: a constant, for zero bytes are cheaper than others."""


def measure(bench: Bench) -> Measured:
    stage = build_stage(bench)
    return _Month(stage).measure()


class _Month:
    def __init__(self, stage: Stage) -> None:
        self.stage, self.bench = stage, stage.bench
        self.keys = [stage.bench.account(f"device {n}").key for n in range(DEVICES)]
        self.underwriter, self.holder = map(self.bench.account, ("underwriter", "holder"))
        self.cover = self.bench.deploy("HeatCover", stage.batches.address)
        self.closes_at = FAR + (DAYS + 1) * DAY_S

    def measure(self) -> dict[str, int]:
        self.bench.mine_at(FAR - DAY_S)
        offer = self.cover.functions.offer(self._terms())
        offered = self._paid(self.underwriter, offer, PAYOUT)
        before = (0, bytes(26), (0, 0, ()))
        bought = self._paid(self.holder, self.cover.functions.buy(0, before), PREMIUM)
        dossiers = self._commit()
        steps = [self._step(dossier) for dossier in dossiers[:-1]]
        first, rest = steps[:15], steps[15:]
        taken = self.bench.send(self.holder, self.cover.functions.prove(0, first))
        self.bench.mine_at(self.closes_at + WINDOW_S + ANSWER_S + 1)
        last = dossiers[-1]
        number = last.header.batch_id
        behind = (number, last.revealed.commitment, tuple(Place.alone(number)))
        claimed = self.bench.send(self.holder, self.cover.functions.claim(0, rest, behind))
        withdrawn = self.bench.send(self.holder, self.cover.functions.withdraw())
        return {
            "cover_offer": offered, "cover_buy": bought, "cover_prove_15_days": taken,
            "cover_claim_15_days": claimed, "cover_withdraw": withdrawn,
        }  # fmt: skip

    def _paid(self, sender: Any, call: Any, value: int) -> int:
        given = {"from": sender.address, "gas": 10**7, "gasPrice": 10**9, "value": value}
        self.bench.account_ready(sender)
        return int(self.bench._receipt(call.transact(given))["gasUsed"])

    def _terms(self) -> tuple[Any, ...]:
        device = self.bench.web3.to_checksum_address(self.keys[7].identity.device)
        end = FAR + DAYS * DAY_S - 1
        until = self.closes_at + 10 * DAY_S
        return (0, device, CELL, FAR, end, self.closes_at, until, 900, 700, PREMIUM, PAYOUT)

    def _commit(self) -> list[Dossier]:
        """A batch a day: an hourly reading of each of 40 devices; one more that closes."""
        made: list[Dossier] = []
        previous: bytes = ZERO26
        for day in range(DAYS + 1):
            hours = hourly(FAR + day * DAY_S, 24)
            leaves = sorted(leaf for key in self.keys for leaf in leaves_of(key, hours))
            batch = draft(day + 1, leaves, [b"no reports are needed"], previous=Digest26(previous))
            self.bench.mine_at(FAR + (day + 1) * DAY_S + (HOUR_S if day == DAYS else 0))
            self.stage.commit(batch)
            previous = batch.revealed.commitment
            made.append(batch)
        return made

    def _step(self, dossier: Dossier) -> tuple[object, ...]:
        device, end = self.keys[7].identity.device, FAR + DAYS * DAY_S - 1
        low, high = (pack_key(1, CELL, device, at) for at in (FAR, end))
        start, behind = locate(dossier.leaves, low, high)
        proof = dossier.statistics.range_proof(start, behind)
        batch = dossier.revealed
        return step_abi(batch, None, (start, behind), proof.leaves, proof.nodes)
