"""given a chain
├── it has every contract where CREATE2 says, with the roles of the parameters
├── when deployed again: nothing is sent, and the manifest keeps what it knew
└── when a parameter is missing: the file and the field are named
"""

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
    deploy, parameters, deployed, provider, accounts
):
    before = provider.get_block("latest").number
    again = {
        planned.name: deploy.deploy_one(planned, accounts[0], provider, deployed)
        for planned in deploy.plan_all(parameters)
    }
    deploy.activate_lane(again, parameters, accounts[0])
    assert again == deployed
    assert provider.get_block("latest").number == before


def test_a_missing_parameter_is_named(deploy, tmp_path):
    with pytest.raises(click.ClickException, match=r"nowhere\.yaml does not exist"):
        deploy.read_parameters(tmp_path / "nowhere.yaml")
    text = (deploy.FOLDER / "ethereum-local.yaml").read_text()
    path = tmp_path / "half.yaml"
    path.write_text(text.replace("guardian:", "gardener:"))
    with pytest.raises(click.ClickException, match=r"half\.yaml.*guardian"):
        deploy.read_parameters(path)


def test_the_manifest_is_written_whole_and_read_back(deploy, deployed, tmp_path):
    path = tmp_path / "deployments" / "31337.json"
    assert deploy.read_manifest(path) == {}
    deploy.write_manifest(path, {"chain_id": 31337, "contracts": deployed})
    assert deploy.read_manifest(path)["contracts"] == deployed
    assert [entry.name for entry in path.parent.iterdir()] == ["31337.json"]
