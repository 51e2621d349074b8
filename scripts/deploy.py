"""Deploys the contracts, the same bytes at the same addresses on every chain.

    ape run deploy --network ethereum:local:foundry
    ape run deploy --network arbitrum:sepolia --account my-deployer

Parameters come from deployments/<ecosystem>-<network>.yaml, the result goes to
deployments/<chain id>.json. CREATE2 through the standard proxy makes addresses depend on code and
parameters alone; what already has code is left as it is, so a second run changes nothing.

DEPLOY_MANIFEST names another place for the result, APE_FOUNDRY_HOST an anvil that is already
running; DEPLOY_PASSPHRASE unlocks `--account`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml
from ape import accounts, project
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, ape_cli_context
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
"""Where Permit2 is on every chain that has it; without it that collector refuses."""
CREATE2_PROXY = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
ROLES = ("admin", "submitter", "proposer", "guardian", "treasury", "deposit_guardian")
FOLDER = Path(__file__).resolve().parent.parent / "deployments"
LANE = 0


@dataclass(frozen=True)
class Parameters:
    """What a deployment is made of besides code."""

    salt: bytes
    roles: Mapping[str, str]
    dispute_window_s: int
    emission_cap: int
    relay_fee_bps: int
    initial_supply: int
    bond: int
    demand_fee: int
    challenge_window_s: int
    answer_window_s: int


@dataclass(frozen=True)
class Planned:
    """A contract with its constructor arguments, and where CREATE2 will put it."""

    name: str
    init_code: bytes
    salt: bytes

    @property
    def address(self) -> str:
        proxy = bytes.fromhex(CREATE2_PROXY[2:])
        digest = keccak(b"\xff" + proxy + self.salt + keccak(self.init_code))
        return to_checksum_address(digest[12:])


def read_parameters(path: Path) -> Parameters:
    if not path.exists():
        raise click.ClickException(
            f"{path} does not exist; copy {path.stem}.example.yaml (or ethereum-local.yaml) to it"
        )
    values = yaml.safe_load(path.read_text())
    try:
        return Parameters(
            salt=keccak(text=values["salt"]),
            roles={role: to_checksum_address(values[role]) for role in ROLES},
            dispute_window_s=int(values["dispute_window_s"]),
            emission_cap=int(values["emission_cap"]),
            relay_fee_bps=int(values["relay_fee_bps"]),
            initial_supply=int(values["initial_supply"]),
            bond=int(values["bond"]),
            demand_fee=int(values["demand_fee"]),
            challenge_window_s=int(values["challenge_window_s"]),
            answer_window_s=int(values["answer_window_s"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise click.ClickException(f"{path}: {error!r} is missing or malformed") from error


def plan_contract(name: str, parameters: Parameters, *arguments: Any) -> Planned:
    container = getattr(project, name)
    code = bytes(container.contract_type.get_deployment_bytecode())
    encoded = bytes(container.constructor.encode_input(*arguments))
    return Planned(name, code + encoded, parameters.salt)


def plan_all(parameters: Parameters) -> list[Planned]:
    registry = plan_contract("DeviceRegistry", parameters, parameters.roles["admin"])
    judge = plan_contract("BatchChallenges", parameters, registry.address)
    token = plan_token(parameters)
    channels = plan_contract("PaymentChannels", parameters, parameters.roles["deposit_guardian"])
    return [
        registry,
        judge,
        token,
        plan_batches(parameters, token, judge),
        channels,
        plan_contract("Erc3009Collector", parameters, channels.address),
        plan_contract("Permit2Collector", parameters, channels.address, PERMIT2),
        plan_contract("StateChannels", parameters, parameters.roles["deposit_guardian"]),
    ]


def plan_token(parameters: Parameters) -> Planned:
    roles = parameters.roles
    return plan_contract(
        "CoreToken",
        parameters,
        roles["admin"],
        roles["proposer"],
        roles["guardian"],
        parameters.dispute_window_s,
        parameters.emission_cap,
        parameters.relay_fee_bps,
        roles["treasury"],
        parameters.initial_supply,
    )


def plan_batches(parameters: Parameters, token: Planned, judge: Planned) -> Planned:
    return plan_contract(
        "DataBatches",
        parameters,
        parameters.roles["admin"],
        token.address,
        parameters.bond,
        parameters.demand_fee,
        parameters.challenge_window_s,
        parameters.answer_window_s,
        judge.address,
    )


def deploy_one(
    planned: Planned, account: AccountAPI, provider: ProviderAPI, before: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest entry of a contract; what the manifest knew of an earlier run is kept."""
    old = before.get(planned.name, {})
    if len(provider.get_code(planned.address)) > 0:
        click.echo(f"  {planned.name:16} {planned.address}  already there")
        known = old if old.get("address") == planned.address else {}
        return {
            "address": planned.address,
            "block": known.get("block", 0),
            "tx": known.get("tx"),
            "salt": "0x" + planned.salt.hex(),
        }
    receipt = send_to_proxy(planned, account, provider)
    click.echo(f"  {planned.name:16} {planned.address}  {receipt.gas_used:>9,} gas")
    return {
        "address": planned.address,
        "block": receipt.block_number,
        "tx": receipt.txn_hash,
        "salt": "0x" + planned.salt.hex(),
    }


def send_to_proxy(planned: Planned, account: AccountAPI, provider: ProviderAPI) -> Any:
    data = planned.salt + planned.init_code
    # The sender must be known before the gas is estimated: some nodes check its balance.
    transaction = provider.network.ecosystem.create_transaction(
        receiver=CREATE2_PROXY, data=data, sender=account.address, chain_id=chain_id_of(provider)
    )
    receipt = account.call(transaction)
    if len(provider.get_code(planned.address)) == 0:
        raise click.ClickException(f"{planned.name}: no code at {planned.address} after {receipt}")
    return receipt


def chain_id_of(provider: ProviderAPI) -> int:
    return int(provider.web3.eth.chain_id)


def activate_lane(entries: Mapping[str, Any], parameters: Parameters, account: AccountAPI) -> None:
    """Lane 0 gets its submitter and its bond, as far as this account may and can."""
    batches = project.DataBatches.at(entries["DataBatches"]["address"])
    submitter = parameters.roles["submitter"]
    if batches.submitterOf(LANE) == submitter:
        return
    if batches.assigneeOf(LANE) != submitter:
        if account.address != parameters.roles["admin"]:
            click.echo(f"  lane {LANE}: the admin must call assignLane({LANE}, {submitter})")
            return
        batches.assignLane(LANE, submitter, sender=account)
    token = project.CoreToken.at(entries["CoreToken"]["address"])
    concerned = account.address in (parameters.roles["admin"], submitter)
    if not concerned or token.balanceOf(account) < parameters.bond:
        click.echo(f"  lane {LANE}: its submitter or the admin must call")
        click.echo(f"           approve({batches.address}, {parameters.bond}), bondLane({LANE})")
        return
    token.approve(batches, parameters.bond, sender=account)
    batches.bondLane(LANE, sender=account)
    click.echo(f"  lane {LANE}           assigned to {submitter} and bonded")


def choose_account(alias: str | None, provider: ProviderAPI) -> AccountAPI:
    if alias is None:
        if not provider.network.is_local:
            raise click.ClickException("a live network needs --account <alias>; see `ape accounts`")
        return accounts.test_accounts[0]
    account = accounts.load(alias)
    passphrase = os.environ.get("DEPLOY_PASSPHRASE")
    if passphrase is not None:
        account.set_autosign(True, passphrase=passphrase)
    return account


def manifest_path(chain_id: int) -> Path:
    return Path(os.environ.get("DEPLOY_MANIFEST") or FOLDER / f"{chain_id}.json")


def read_manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def write_manifest(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    part.replace(path)


@click.command(cls=ConnectedProviderCommand)
@ape_cli_context()
@click.option("--account", "alias", help="Ape account that pays (local networks: test account 0).")
def cli(cli_ctx: Any, alias: str | None, provider: ProviderAPI) -> None:
    """Deploy what is not there yet and write the manifest."""
    network = provider.network
    source = FOLDER / f"{network.ecosystem.name}-{network.name}.yaml"
    parameters = read_parameters(source)
    account, chain_id = choose_account(alias, provider), chain_id_of(provider)
    if len(provider.get_code(CREATE2_PROXY)) == 0:
        raise click.ClickException(f"chain {chain_id} lacks the CREATE2 proxy {CREATE2_PROXY}")
    path = manifest_path(chain_id)
    before = read_manifest(path).get("contracts", {})
    click.echo(f"chain {chain_id}, parameters {source.name}, paid by {account.address}")
    entries = {
        planned.name: deploy_one(planned, account, provider, before)
        for planned in plan_all(parameters)
    }
    activate_lane(entries, parameters, account)
    blocks = [entry["block"] for entry in entries.values()]
    write_manifest(
        path,
        {
            "chain_id": chain_id,
            "block": min(blocks),
            "contracts": entries,
            "roles": dict(parameters.roles),
        },
    )
    click.echo(f"manifest: {path}")
