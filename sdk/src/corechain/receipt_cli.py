"""`corechain receipt`: look at a receipt in a file, demand its report on chain, name who signs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corechain.cli import DEFAULT_HOME, Home, Manifest, Rpc, _places

if TYPE_CHECKING:
    from corechain.chain import Chain
    from corechain.receipts import KeptReceipt

commands = typer.Typer(
    help="Completeness receipts: what a gateway has promised, and how to hold it to that.",
    no_args_is_help=True,
)
File = Annotated[
    Path, typer.Argument(help="A receipt with its report, as `KeptReceipt.save` writes it.")
]
Key = Annotated[
    str, typer.Option(envvar="CORECHAIN_KEY", help="Private key of the account that pays.")
]
Lane = Annotated[int, typer.Option(min=0, max=0xFFFF)]
Signer = Annotated[str, typer.Option(help="Address of the gateway's receipt key.")]
GONE = 1
"""Exit code of a receipt that nothing stands behind."""


def register(app: typer.Typer) -> None:
    """Adds `receipt` to the `corechain` command."""
    app.add_typer(commands, name="receipt")


def _chain(home: Path, rpc_url: str | None, deployment: Path | None) -> "Chain":
    from corechain.chain import Chain
    from corechain.deployment import load_deployment

    places = _places(home, rpc_url, None, None, deployment)
    return Chain(places.rpc, load_deployment(places.deployment))


def _loaded(file: Path) -> "KeptReceipt":
    from corechain.receipts import KeptReceipt

    try:
        return KeptReceipt.load(file)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from None


def _time(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S} UTC"


@commands.command()
def check(
    file: File, home: Home = DEFAULT_HOME, rpc_url: Rpc = None, deployment: Manifest = None
) -> None:
    """Prove that a receipt is of its report, and ask the chain who stands behind it.

    Exit code 0: a bond does. 1: none, or not any more.
    """
    from corechain.receipt_check import ReceiptChecks

    kept, chain = _loaded(file), _chain(home, rpc_url, deployment)
    standing = ReceiptChecks(chain).standing(kept)
    report = kept.report.report
    rows = {
        "device": f"0x{report.device.hex()}",
        "sequence": str(report.sequence),
        "lane": str(kept.lane),
        "bond of": _time(kept.since),
        "signed by": f"0x{standing.signer.hex()}",
        "in a batch by": _time(kept.commit_by),
        "can be demanded until": _time(standing.demandable_until),
        "standing": standing.word,
    }
    for name, value in rows.items():
        typer.echo(f"{name + ':':<22} {value}")
    if not standing.is_good:
        raise typer.Exit(GONE)


@commands.command()
def demand(
    file: File,
    key: Key,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    deployment: Manifest = None,
) -> None:
    """Demand the report of a receipt whose time is over: the lane shows it in a batch, or loses its
    bond. Costs the demand fee, which whoever answers gets."""
    from corechain.account import account_from_key
    from corechain.protocol.keys import DeviceIdentity, KeyType

    kept, chain = _loaded(file), _chain(home, rpc_url, deployment)
    device = kept.report.report.device
    _, key_type = chain.owner_and_key_type(device)
    if key_type != KeyType.SECP256K1:
        raise typer.BadParameter("of a device on P-256: use Chain.demand_receipt with its key")
    identity, fleet = DeviceIdentity(device, KeyType.SECP256K1), chain.fleet_of(device)
    receipt = chain.demand_receipt(account_from_key(key), kept.proof, kept.report, identity, fleet)
    typer.echo(f"demanded in transaction 0x{receipt['transactionHash'].hex()}")


@commands.command("name-signer")
def name_signer(
    lane: Lane,
    signer: Signer,
    key: Key,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    deployment: Manifest = None,
) -> None:
    """For the lane's submitter: its bond answers for receipts that this account signs."""
    from corechain.account import account_from_key

    chain = _chain(home, rpc_url, deployment)
    receipt = chain.name_receipt_signer(account_from_key(key), lane, signer)
    typer.echo(f"named in transaction 0x{receipt['transactionHash'].hex()}")


@commands.command("dismiss-signer")
def dismiss_signer(
    lane: Lane,
    signer: Signer,
    key: Key,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    deployment: Manifest = None,
) -> None:
    """For the lane's submitter: ends that for promises of more than a challenge window from now."""
    from corechain.account import account_from_key

    chain = _chain(home, rpc_url, deployment)
    receipt = chain.dismiss_receipt_signer(account_from_key(key), lane, signer)
    typer.echo(f"dismissed in transaction 0x{receipt['transactionHash'].hex()}")
