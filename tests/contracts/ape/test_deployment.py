"""given a chain
├── it has every contract where CREATE2 says, with the roles of the parameters
├── when deployed again: nothing is sent, and the manifest keeps what it knew
├── when the lane is another submitter's: that is said, and nothing is sent
└── when the manifest is another chain's: that is said, and nothing is sent
"""

import json
from dataclasses import replace

import click
import pytest


def test_every_contract_is_where_create2_says(deploy, parameters, deployed, provider):
    for planned in deploy.plan_all(parameters):
        assert deployed[planned.name]["address"] == planned.address
        assert len(provider.get_code(planned.address)) > 0
        assert deployed[planned.name]["tx"].startswith("0x")


def test_the_roles_are_those_of_the_parameters(parameters, contract):
    roles = parameters.roles
    assert contract("DataBatches").admin() == roles["admin"]
    assert contract("DataBatches").submitterOf(0) == roles["submitter"]
    token = contract("CoreToken")
    assert tuple(token.holderOf(role) for role in range(3)) == (
        roles["admin"],
        roles["proposer"],
        roles["guardian"],
    )
    # The treasury's account deploys here, so it has paid the first lane's bond.
    bonded = token.balanceOf(contract("DataBatches"))
    assert bonded == parameters.bond
    assert token.balanceOf(roles["treasury"]) + bonded == parameters.initial_supply
    assert token.disputeWindow() == parameters.dispute_window_s


def test_a_second_run_sends_nothing_and_keeps_what_it_knew(
    parameters, run_script, manifest, provider
):
    before, written = provider.get_block("latest").number, manifest.path.read_text()
    run_script(parameters, manifest.path)
    assert manifest.path.read_text() == written
    assert provider.get_block("latest").number == before


def test_a_lane_of_another_submitter_is_left_alone(
    parameters, run_script, manifest, provider, accounts, capsys, tmp_path
):
    before = provider.get_block("latest").number
    roles = {**parameters.roles, "submitter": accounts[7].address}
    run_script(replace(parameters, roles=roles), tmp_path / "31337.json")
    assert f"lane 0: {parameters.roles['submitter']} is bonded on it" in capsys.readouterr().out
    assert provider.get_block("latest").number == before


def test_the_manifest_of_another_chain_is_not_written_over(parameters, run_script, tmp_path):
    path = tmp_path / "31337.json"
    path.write_text(json.dumps({"chain_id": 10, "contracts": {}}))
    with pytest.raises(click.ClickException, match="of chain 10, and this is chain 31337"):
        run_script(parameters, path)
    assert json.loads(path.read_text())["chain_id"] == 10
