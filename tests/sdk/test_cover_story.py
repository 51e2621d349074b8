"""The example dApp's parts that need no network: examples/cover/run.py runs the rest on one."""

import json
from pathlib import Path

import pytest

from corechain.devnet.cover import (
    HEAT_C,
    MANY_LANES,
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
