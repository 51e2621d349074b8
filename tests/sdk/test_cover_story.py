"""The example dApp's parts that need no network: examples/cover/run.py runs the rest on one."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from corechain.devnet.cover import (
    HEAT_C,
    LEADS_S,
    MANY_LANES,
    CoverNotSettled,
    HeatCoverStory,
    Settled,
    compiled,
    device_of_first_lane,
    time_behind,
)
from corechain.devnet.findings import Findings
from corechain.devnet.summary import lines
from corechain.protocol.lanes import lane_of_device


def test_its_device_is_in_the_first_lane_of_any_number() -> None:
    for _ in range(20):
        device = device_of_first_lane().identity.device
        assert {lane_of_device(device, lanes) for lanes in range(1, MANY_LANES + 1)} == {0}


def test_the_contract_is_the_one_that_the_deployment_has_compiled(tmp_path: Path) -> None:
    (tmp_path / ".build").mkdir()
    entry = {"abi": [{"type": "constructor"}], "deploymentBytecode": {"bytecode": "0x60"}}
    built = tmp_path / ".build" / "__local__.json"
    built.write_text(json.dumps({"contractTypes": {"HeatCover": entry}}))
    assert compiled(tmp_path) == {"abi": entry["abi"], "bytecode": "0x60"}
    built.write_text(json.dumps({"contractTypes": {}}))
    with pytest.raises(KeyError, match="HeatCover"):
        compiled(tmp_path)


def test_the_reading_that_closes_a_policy_is_behind_the_hot_ones_however_quick_the_network() -> (
    None
):
    last = 1_000 + len(HEAT_C) - 1
    assert time_behind(1_000, 999.5) == time_behind(1_000, float(last)) == last + 2
    assert time_behind(1_000, last + 60.9) == last + 60


def test_the_summary_says_what_was_paid_out() -> None:
    findings = Findings(replay_s=1.0, redeemed={"queries": 0, "amount": 0, "gas_used": 0})
    assert "heat cover paid out" not in dict(lines(findings))
    findings.cover = Settled(38.43, 3, 2, 10**18, {"claim": 192_249})
    said = dict(lines(findings))["heat cover paid out"]
    assert said == "1 ether: mean 38.43 °C of 3 readings in 2 batches, 192,249 gas"


class SlowNode:
    """A chain whose blocks come so late that a policy is sold only when it starts in a minute. An
    estimate lets the others pass, and their block refuses them."""

    def __init__(self, sold_from_s: int) -> None:
        self.sold_from_s, self.sent = sold_from_s, list[str]()
        self.eth = self.functions = self

    def get_block(self, tag: str) -> dict[str, int]:
        return {"timestamp": 1 << 40}

    def policies(self) -> "SlowNode":
        return self

    def call(self) -> int:
        return 7

    def __getattr__(self, name: str) -> Any:
        def bound(*what: Any) -> "SlowNode":
            self.sent.append(name)
            return self

        return bound

    def transact(self, about: dict[str, Any]) -> bytes:
        return self.sent[-1].encode()

    def wait_for_transaction_receipt(self, name: bytes, *about: Any) -> dict[str, int]:
        lead_s = LEADS_S[self.sent.count("buy") - 1]
        is_late = name == b"buy" and lead_s < self.sold_from_s
        return {"status": int(not is_late), "gasUsed": 1, "blockNumber": 9}


def story_on(node: SlowNode) -> HeatCoverStory:
    story = object.__new__(HeatCoverStory)
    story.web3 = story.cover = cast(Any, node)
    story.underwriter = story.holder = "0x"
    story.gas = {}
    cast(Any, story)._terms = lambda: ()
    return story


def test_a_policy_that_a_slow_network_has_not_sold_in_time_is_offered_again() -> None:
    """Else nobody noticed before the claim, which the contract refused."""
    node = SlowNode(sold_from_s=LEADS_S[-1])
    story = story_on(node)
    assert [story._is_bought((), lead_s) for lead_s in LEADS_S] == [False, False, True]
    assert node.sent == ["offer", "buy", "cancel"] * 2 + ["offer", "buy"]


def test_what_its_block_refuses_says_so_at_once() -> None:
    node = SlowNode(sold_from_s=1 << 40)
    with pytest.raises(CoverNotSettled, match="buy: refused in block 9"):
        story_on(node)._send("buy", node.buy(), "0x")
