"""Deploys the contracts, the same bytes at the same addresses on every chain.

    ape run deploy --network ethereum:local:foundry
    ape run deploy --network arbitrum:sepolia --account my-deployer

Parameters come from deployments/<ecosystem>-<network>.yaml, the result goes to
deployments/<chain id>.json. CREATE2 through the standard proxy makes addresses depend on code and
parameters alone; what already has code is left as it is, so a second run changes nothing, and a run
after an interrupted one goes on where that one stopped.

DEPLOY_PARAMETERS and DEPLOY_MANIFEST name other files, APE_FOUNDRY_HOST an anvil that is already
running; DEPLOY_PASSPHRASE unlocks `--account`; DEPLOY_TRACEBACK shows where an error came from.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from ape import accounts, project
from ape.api import AccountAPI, ProviderAPI, ReceiptAPI
from ape.cli import ape_cli_context
from ape.exceptions import ApeException
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from requests.exceptions import RequestException
from scripts._deploy.failures import DeployCommand
from scripts._deploy.history import Look, UnknownHistory, confirms, creation_block
from scripts._deploy.manifest import Entry, Manifest
from scripts._deploy.parameters import NOBODY, Parameters, read_parameters
from web3.exceptions import Web3Exception

PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
"""Where Permit2 is on every chain that has it; without it that collector refuses."""
CREATE2_PROXY = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
FOLDER = Path(__file__).resolve().parent.parent / "deployments"
LANE = 0
PENDING_LIMIT_S, BEHIND_LIMIT_S, POLL_S = 300.0, 30.0, 0.25
"""How long to wait for transactions of an earlier run, and for a node that lags behind another."""
SEARCHED_BLOCKS = 256
"""Full nodes keep the states of 128 blocks: twice that reaches a run of a moment ago."""


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

    @property
    def call_data(self) -> bytes:
        """What the proxy is sent."""
        return self.salt + self.init_code


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


def deploy_all(
    plan: list[Planned],
    account: AccountAPI,
    provider: ProviderAPI,
    manifest: Manifest,
    first_block: int | None = None,
) -> None:
    """The manifest names every contract that is there, at any moment; nothing is deployed twice.

    `first_block` stands for the block of what is there already and too old for the node.
    Raises click.ClickException.
    """
    wait_for_pending(account, provider)
    for planned in plan:
        if has_code(planned.address, provider):
            entry = find_one(planned, provider, manifest, first_block)
            since = f"already there, block {entry['block']}"
            click.echo(f"  {planned.name:16} {planned.address}  {since}")
        else:
            entry = deploy_one(planned, account, provider)
        manifest.add(planned.name, entry)


def deploy_one(planned: Planned, account: AccountAPI, provider: ProviderAPI) -> Entry:
    """Sends it, waits for it, and returns its entry."""
    # The sender must be known before the gas is estimated: some nodes check its balance.
    transaction = provider.network.ecosystem.create_transaction(
        receiver=CREATE2_PROXY,
        data=planned.call_data,
        sender=account.address,
        chain_id=chain_id_of(provider),
    )
    try:
        receipt = account.call(transaction)
    except (ApeException, Web3Exception, RequestException):
        # Somebody else may have deployed the same meanwhile: the proxy refuses the second.
        if not has_code(planned.address, provider):
            raise
        return find_one(planned, provider, None, None)
    settled = settle(receipt, provider)
    if not has_code(planned.address, provider):
        raise click.ClickException(
            f"{planned.name}: no code at {planned.address} after transaction {receipt.txn_hash}"
        )
    click.echo(f"  {planned.name:16} {planned.address}  {settled['gasUsed']:>9,} gas")
    return entry_of(planned, int(settled["blockNumber"]), receipt.txn_hash)


def settle(receipt: ReceiptAPI, provider: ProviderAPI) -> Any:
    """The receipt from a block: where blocks come by the clock, Ape may return before one."""
    return provider.web3.eth.wait_for_transaction_receipt(receipt.txn_hash, PENDING_LIMIT_S, POLL_S)


def find_one(
    planned: Planned, provider: ProviderAPI, manifest: Manifest | None, first_block: int | None
) -> Entry:
    """The entry of what is there already: as the manifest has it, else looked up on the chain."""

    def look(block: int) -> bool | None:
        return had_code(planned.address, block, provider)

    known = manifest.known(planned.name, planned.address) if manifest else None
    head = head_that(look, provider)
    if known is not None and confirms(look, known["block"], head):
        return known
    try:
        block = creation_block(look, head)
    except UnknownHistory as error:
        return find_without_history(planned, provider, first_block, error)
    return entry_of(planned, block, creation_in(planned, block, provider))


def find_without_history(
    planned: Planned, provider: ProviderAPI, first_block: int | None, unknown: UnknownHistory
) -> Entry:
    """Nodes that forget states keep blocks: an interrupted run is not far back. Else the user knows
    where a mirror may begin. Raises click.ClickException."""
    for block in range(unknown.oldest, max(unknown.oldest - SEARCHED_BLOCKS, 0), -1):
        tx = creation_in(planned, block, provider)
        if tx is not None:
            return entry_of(planned, block, tx)
    if first_block is None:
        raise click.ClickException(
            f"{planned.name} is at {planned.address} already, and the node does not know since "
            f"when ({unknown}). Use an archive node, or name a block that is not later than its "
            "creation (a block explorer shows it): --first-block N"
        ) from unknown
    return entry_of(planned, min(first_block, unknown.oldest), None)


def entry_of(planned: Planned, block: int, tx: str | None) -> Entry:
    entry = {"address": planned.address, "block": block, "salt": "0x" + planned.salt.hex()}
    return entry if tx is None else entry | {"tx": tx}


def creation_in(planned: Planned, block: int, provider: ProviderAPI) -> str | None:
    """Hash of the transaction that created it, if it is one to the proxy itself."""
    found = provider.web3.eth.get_block(block, full_transactions=True)
    for transaction in found["transactions"]:
        if transaction.get("to") == CREATE2_PROXY and transaction["input"] == planned.call_data:
            return "0x" + bytes(transaction["hash"]).hex()
    return None


def has_code(address: str, provider: ProviderAPI) -> bool:
    return len(provider.get_code(address)) > 0


def had_code(address: str, block: int, provider: ProviderAPI) -> bool | None:
    """Whether there was code at the end of a block; None when the node has dropped that state."""
    try:
        return len(provider.web3.eth.get_code(address, block)) > 0
    except (Web3Exception, ValueError):
        # Each kind of node says it in words of its own. An outage is neither of these.
        return None


def head_that(look: Look, provider: ProviderAPI) -> int:
    """The newest block, when the node has the code in it: behind a load balancer, the node that
    answers now may lag behind the one that answered before."""
    deadline = time.monotonic() + BEHIND_LIMIT_S
    while True:
        head = int(provider.web3.eth.block_number)
        if look(head):
            return head
        if time.monotonic() > deadline:
            raise click.ClickException(f"the node is behind block {head}: run this again later")
        time.sleep(POLL_S)


def wait_for_pending(account: AccountAPI, provider: ProviderAPI) -> None:
    """An earlier run may have sent what is not in a block yet: sent again, it would fail."""
    count, deadline = provider.web3.eth.get_transaction_count, time.monotonic() + PENDING_LIMIT_S
    waiting = count(account.address, "pending") - count(account.address, "latest")
    if waiting > 0:
        click.echo(f"  waiting for {waiting} transactions of {account.address}")
    while count(account.address, "pending") > count(account.address, "latest"):
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"{account.address} has transactions that no block takes: replace them "
                "(same nonce, higher fee) or wait, then run this again"
            )
        time.sleep(POLL_S)


def chain_id_of(provider: ProviderAPI) -> int:
    return int(provider.web3.eth.chain_id)


def activate_lane(manifest: Manifest, parameters: Parameters, account: AccountAPI) -> None:
    """Lane 0 gets its submitter and its bond, as far as this account may and can."""
    batches = project.DataBatches.at(manifest.entries["DataBatches"]["address"])
    submitter, present = parameters.roles["submitter"], batches.submitterOf(LANE)
    if present == submitter:
        return
    if present != NOBODY:
        click.echo(f"  lane {LANE}: {present} is bonded on it; closeLane({LANE}) makes it free")
        return
    if batches.assigneeOf(LANE) != submitter:
        if account.address != parameters.roles["admin"]:
            click.echo(f"  lane {LANE}: the admin must call assignLane({LANE}, {submitter})")
            return
        settle(batches.assignLane(LANE, submitter, sender=account), account.provider)
    token = project.CoreToken.at(manifest.entries["CoreToken"]["address"])
    concerned = account.address in (parameters.roles["admin"], submitter)
    if not concerned or token.balanceOf(account) < parameters.bond:
        click.echo(f"  lane {LANE}: its submitter or the admin must call")
        click.echo(f"           approve({batches.address}, {parameters.bond}), bondLane({LANE})")
        return
    settle(token.approve(batches, parameters.bond, sender=account), account.provider)
    settle(batches.bondLane(LANE, sender=account), account.provider)
    click.echo(f"  lane {LANE}           assigned to {submitter} and bonded")


def choose_account(alias: str | None, provider: ProviderAPI) -> AccountAPI:
    if alias is None:
        if not provider.network.is_local:
            raise click.ClickException("a live network needs --account <alias>; see `ape accounts`")
        return accounts.test_accounts[0]
    if alias not in accounts.aliases:
        raise click.ClickException(
            f"no account is called {alias!r}: `ape accounts list` shows yours, "
            "`ape accounts import <alias>` adds one"
        )
    account = accounts.load(alias)
    passphrase = os.environ.get("DEPLOY_PASSPHRASE")
    if passphrase is not None:
        account.set_autosign(True, passphrase=passphrase)
    return account


def require_able(account: AccountAPI, provider: ProviderAPI, chain_id: int) -> None:
    """Raises click.ClickException before anything is sent."""
    if not has_code(CREATE2_PROXY, provider):
        raise click.ClickException(
            f"chain {chain_id} lacks the CREATE2 proxy {CREATE2_PROXY}: deploy it first "
            "(deterministic-deployment-proxy, one signed transaction that anyone may send)"
        )
    if account.balance == 0 and not provider.network.is_local:
        raise click.ClickException(
            f"{account.address} has nothing to pay with on chain {chain_id}: send it funds"
        )


def manifest_path(chain_id: int) -> Path:
    return Path(os.environ.get("DEPLOY_MANIFEST") or FOLDER / f"{chain_id}.json")


@click.command(cls=DeployCommand)
@ape_cli_context()
@click.option("--account", "alias", help="Ape account that pays (local networks: test account 0).")
@click.option(
    "--first-block",
    type=click.IntRange(min=1),
    help="Where a mirror may begin, for contracts that are older than the node's memory.",
)
def cli(cli_ctx: Any, alias: str | None, first_block: int | None, provider: ProviderAPI) -> None:
    """Deploy what is not there yet and write the manifest."""
    network = provider.network
    named = f"{network.ecosystem.name}-{network.name}.yaml"
    source = Path(os.environ.get("DEPLOY_PARAMETERS") or FOLDER / named)
    parameters = read_parameters(source, is_live=not network.is_local)
    account, chain_id = choose_account(alias, provider), chain_id_of(provider)
    require_able(account, provider, chain_id)
    click.echo(f"chain {chain_id}, parameters {source.name}, paid by {account.address}")
    plan, path = plan_all(parameters), manifest_path(chain_id)
    addresses = [planned.address for planned in plan]
    weight = parameters.bridge_weight_bps
    manifest = Manifest.open(path, chain_id, parameters.roles, addresses, weight)
    deploy_all(plan, account, provider, manifest, first_block)
    activate_lane(manifest, parameters, account)
    manifest.finish()
    click.echo(f"manifest: {path}")
