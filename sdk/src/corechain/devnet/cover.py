"""The example dApp on a network of ours: heat cover is bought, a hot hour proven, the payout made.

`make demo` ends with it, `examples/cover/run.py` shows it. Accounts are those that anvil holds
unlocked; time is moved on there, because a real payout waits until nobody can challenge it.
"""

import json
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from web3.exceptions import ContractLogicError

from corechain.client import Client
from corechain.contract_answers import ContractAnswer, SpanNotClosed
from corechain.devnet.programs import find_repository
from corechain.node import NodeRefusal
from corechain.protocol.errors import TransportError
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.places import cell_of
from corechain.protocol.reading import Observation

ETHER = 10**18
PREMIUM, PAYOUT = ETHER // 100, ETHER
THRESHOLD_C, HEAT_C = 35.0, (38.0, 38.4, 38.9)
LATITUDE, LONGITUDE = 40.69, -74.17
PATIENCE_S, POLL_S = 120.0, 0.2
LEADS_S, CLOSING_S, CLAIM_S = (3, 15, 60), int(PATIENCE_S), 7 * 86_400
"""Of a policy: before it starts (the next where a slow network has not sold it by then), after its
last reading, and for the claim."""
ASKING_S = 1.0
"""Between questions that may cost something."""
MANY_LANES = 16


class CoverNotSettled(TransportError):
    """No batch closed the policy's time: the network seals none, or is far behind. Or a call was
    refused in its block."""


@dataclass(frozen=True)
class Settled:
    """How it ended: money in wei."""

    mean: float
    count: int
    batches: int
    payout: int
    gas: dict[str, int]


def device_of_first_lane() -> Secp256k1Key:
    """A fresh key whose device is in the first lane, whatever number of lanes there is."""
    while True:
        key = Secp256k1Key(secrets.token_bytes(32))
        # Lanes divide the last eight bytes into equal shares.
        if key.identity.device[-8] * MANY_LANES < 256:
            return key


def time_behind(start: int, now: float) -> int:
    """When the reading is observed that closes a policy: behind the hot ones, which a quick network
    commits before their last second is over. Of two in one second the rules refuse the later."""
    return max(int(now), start + len(HEAT_C) + 1)


def compiled(repository: Path) -> dict[str, Any]:
    """ABI and bytecode of HeatCover: the deployment has just compiled it with all contracts."""
    built = json.loads((repository / ".build" / "__local__.json").read_text())
    entry: dict[str, Any] = built["contractTypes"]["HeatCover"]
    return {"abi": entry["abi"], "bytecode": entry["deploymentBytecode"]["bytecode"]}


def can_be_sold(client: Client) -> bool:
    """Whether the chain's time can be moved on, since claims wait for more than a day of it, and
    the node sends for its own accounts: anvil's do, a real node's do not."""
    try:
        client.chain.node.call("evm_increaseTime", 0)
    except NodeRefusal:
        return False
    return True


@dataclass
class HeatCoverStory:
    """One policy, from its offer to its payout."""

    client: Client
    say: Callable[[str], None] = lambda line: None
    repository: Path = field(default_factory=find_repository)
    key: Secp256k1Key = field(default_factory=device_of_first_lane)
    gas: dict[str, int] = field(default_factory=dict)
    start: int = 0
    after: int = 0
    policy: int = 0

    def __post_init__(self) -> None:
        self.cell = cell_of(LATITUDE, LONGITUDE)
        self.web3 = self.client.chain.web3
        accounts = list(self.web3.eth.accounts)
        self.underwriter, self.holder = accounts[-2], accounts[-1]

    @property
    def closes_at(self) -> int:
        return self.start + len(HEAT_C) + CLOSING_S

    def _send(self, name: str, call: Any, sender: str, value: int = 0) -> Any:
        hash_ = call.transact({"from": sender, "value": value})
        receipt = self.web3.eth.wait_for_transaction_receipt(hash_, PATIENCE_S, POLL_S)
        if receipt["status"] != 1:  # what an estimate allowed may come too late
            raise CoverNotSettled(f"{name}: refused in block {receipt['blockNumber']}")
        self.gas[name] = receipt["gasUsed"]
        return receipt

    def _deployed(self) -> Any:
        made = compiled(self.repository)
        batches = self.client.contracts.address("DataBatches")
        factory = self.web3.eth.contract(abi=made["abi"], bytecode=made["bytecode"])
        checked = self.web3.to_checksum_address(batches)
        receipt = self._send("deploy", factory.constructor(checked), self.underwriter)
        found: Any = self.web3.eth.contract(address=receipt["contractAddress"], abi=made["abi"])
        return found

    def begin(self) -> int:
        """Offers and buys a policy, and sends the hot readings. How many observations they are."""
        self.client.register_device(self.key)
        self.cover = self._deployed()
        before = self._anchor()
        if not any(self._is_bought(before, lead_s) for lead_s in LEADS_S):
            raise CoverNotSettled(f"no policy is sold within {LEADS_S[-1]} s: the node is too slow")
        self.say(f"bought heat cover above {THRESHOLD_C:g} °C for {PREMIUM / ETHER:g} ether")
        return self._report(1, [(self.start + at, heat) for at, heat in enumerate(HEAT_C)])

    def _anchor(self) -> Any:
        """The lane's first batch is still to come, or whatever came before is none of ours."""
        known = self.client.batches(limit=100_000)
        self.after = max(
            (row["batch_id"] for row in known if row["batch_id"] >> 32 == 0), default=0
        )
        anchor = self.client.chain.commitment_of(self.after) if self.after else bytes(26)
        return self.after, anchor, (self.after, 0, [])

    def _is_bought(self, before: Any, lead_s: int) -> bool:
        """Whether a policy that starts in so many seconds is sold by then."""
        call = self.cover.functions
        now = int(self.web3.eth.get_block("latest")["timestamp"])
        self.start = max(now, int(time.time())) + lead_s
        self.policy = call.policies().call()
        self._send("offer", call.offer(self._terms()), self.underwriter, PAYOUT)
        try:
            self._send("buy", call.buy(self.policy, before), self.holder, PREMIUM)
        except (ContractLogicError, CoverNotSettled):
            self._send("cancel", call.cancel(self.policy), self.underwriter)
            return False
        return True

    def _terms(self) -> tuple[Any, ...]:
        windows = self.client.chain.call("DataBatches", "challengeWindow")
        windows += self.client.chain.call("DataBatches", "answerWindow")
        end = self.start + len(HEAT_C)
        device = self.web3.to_checksum_address(self.key.identity.device)
        until = self.closes_at + windows + CLAIM_S
        least = len(HEAT_C)
        threshold = round(THRESHOLD_C * 100)
        place = 0, device, self.cell
        return *place, self.start, end, self.closes_at, until, threshold, least, PREMIUM, PAYOUT

    def _report(self, sequence: int, readings: list[tuple[int, float]]) -> int:
        observed = [
            Observation.in_unit("air_temperature", self.cell, at, value) for at, value in readings
        ]
        report = self.client.sign_report(self.key, sequence, observed)
        (delivery,) = self.client.send_reports([report], patience_s=PATIENCE_S)
        assert delivery.accepted, delivery
        return len(observed)

    def settle(self) -> Settled:
        """Closes the time by one more reading, asks for the proof, waits and claims.

        Moves the time of the chain on by more than a challenge window. Raises CoverNotSettled.
        """
        self._await_heat()
        self._pass_closing()
        self._report(2, [(time_behind(self.start, time.time()), HEAT_C[-1])])
        answer = self._answer()
        call = self.cover.functions
        behind = answer.as_abi()[2]
        self._pass_windows()
        self._send("claim", call.claim(self.policy, answer.steps, behind), self.holder)
        owed = call.owed(self.holder).call()
        self._send("withdraw", call.withdraw(), self.holder)
        found = answer.statistics
        mean = found.sum / found.count / 100
        return Settled(mean, found.count, len(answer.steps), owed, self.gas)

    def _asked(self, closes_at: int | None = None) -> ContractAnswer:
        device, end = self.key.identity.device, self.start + len(HEAT_C)
        return self.client.contract_answer(
            "air_temperature", device, self.cell, self.start, end,
            after=self.after, closes_at=closes_at,
        )  # fmt: skip

    def _await_heat(self) -> None:
        """Until the hot readings are on chain: what is committed after `closes_at` is refused."""
        patience = time.monotonic() + PATIENCE_S
        while self._asked().statistics.count < len(HEAT_C):
            if time.monotonic() > patience:
                raise CoverNotSettled("the hot readings are in no verified batch")
            time.sleep(ASKING_S)

    def _answer(self) -> ContractAnswer:
        patience = time.monotonic() + PATIENCE_S
        while time.monotonic() < patience:
            with suppress(SpanNotClosed):
                return self._asked(self.closes_at)
            with suppress(NodeRefusal):  # where blocks come by themselves
                self.client.chain.node.call("evm_mine")
            time.sleep(POLL_S)
        raise CoverNotSettled(f"no verified batch was committed after second {self.closes_at}")

    def _pass_closing(self) -> None:
        """The contract goes by the time of blocks, so nobody has to sit the policy's time out."""
        now = int(self.web3.eth.get_block("latest")["timestamp"])
        if now <= self.closes_at:
            self._move_on(self.closes_at + 1 - now)

    def _pass_windows(self) -> None:
        windows = self.client.chain.call("DataBatches", "challengeWindow")
        windows += self.client.chain.call("DataBatches", "answerWindow")
        self.say(f"moving the chain's time on by {windows / 3600:.0f} hours: claims wait for that")
        self._move_on(windows + CLOSING_S)

    def _move_on(self, seconds: int) -> None:
        self.client.chain.node.call("evm_increaseTime", seconds)
        self.client.chain.node.call("evm_mine")
