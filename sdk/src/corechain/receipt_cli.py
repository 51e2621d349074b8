"""`corechain receipt`: look at a receipt in a file, demand its report on chain, name who signs."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corechain.cli import DEFAULT_HOME, Home, Manifest, Rpc, _places

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

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
    str | None,
    typer.Option(
        envvar="CORECHAIN_KEY",
        help="Private key of the account that pays. On a command line every user sees it.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        envvar="CORECHAIN_KEY_FILE",
        help="File with that key: hexadecimal, or a keystore (CORECHAIN_KEYSTORE_PASSWORD).",
    ),
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
    from corechain.protocol.errors import ProtocolError
    from corechain.receipts import KeptReceipt

    try:
        return KeptReceipt.load(file)
    except ProtocolError:  # where it breaks off says nothing of a file that never was one
        raise typer.BadParameter(
            f"{file} is no receipt file, or a damaged one: `KeptReceipt.save` writes them"
        ) from None
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from None


def _account(key: str | None, file: Path | None) -> "LocalAccount":
    """Of the key, or of the one in the file. Exits with 2 for none, both, or what is no key."""
    from corechain.account import account_from_key
    from corechain.protocol.errors import InvalidValue
    from corechain.service.keystore import WrongKeystore, is_keystore, open_keystore

    if (key is None) == (file is None):
        raise typer.BadParameter("name one of --key-file and --key (CORECHAIN_KEY)")
    try:
        text = _secret(file) if file else key or ""
        if is_keystore(text):
            text = open_keystore(text, os.environ.get("CORECHAIN_KEYSTORE_PASSWORD"))
        return account_from_key(text)
    except WrongKeystore as error:
        raise typer.BadParameter(
            f"the key {error} (CORECHAIN_KEYSTORE_PASSWORD)", param_hint="--key-file"
        ) from None
    except (InvalidValue, ValueError):  # words of the latter may hold the key
        raise typer.BadParameter("it is not a private key", param_hint="--key-file") from None


def _secret(file: Path) -> str:
    """What a file holds that not every user of the machine may read."""
    try:
        if file.stat().st_mode & stat.S_IROTH:
            raise typer.BadParameter(
                f"every user can read {file}: chmod 600", param_hint="--key-file"
            )
        return file.read_text().strip()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--key-file") from None


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
    key: Key = None,
    key_file: KeyFile = None,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    deployment: Manifest = None,
) -> None:
    """Demand the report of a receipt whose time is over: the lane shows it in a batch, or loses its
    bond. Costs the demand fee, which whoever answers gets."""
    from corechain.protocol.keys import DeviceIdentity, KeyType

    kept, chain = _loaded(file), _chain(home, rpc_url, deployment)
    device = kept.report.report.device
    _, key_type = chain.owner_and_key_type(device)
    if key_type != KeyType.SECP256K1:
        raise typer.BadParameter("of a device on P-256: use Chain.demand_receipt with its key")
    identity, fleet = DeviceIdentity(device, KeyType.SECP256K1), chain.fleet_of(device)
    receipt = chain.demand_receipt(
        _account(key, key_file), kept.proof, kept.report, identity, fleet
    )
    typer.echo(f"demanded in transaction 0x{receipt['transactionHash'].hex()}")


@commands.command("name-signer")
def name_signer(
    lane: Lane,
    signer: Signer,
    key: Key = None,
    key_file: KeyFile = None,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    deployment: Manifest = None,
) -> None:
    """For the lane's submitter: its bond answers for receipts that this account signs."""
    account, chain = _account(key, key_file), _chain(home, rpc_url, deployment)
    receipt = chain.name_receipt_signer(account, lane, signer)
    typer.echo(f"named in transaction 0x{receipt['transactionHash'].hex()}")


@commands.command("dismiss-signer")
def dismiss_signer(
    lane: Lane,
    signer: Signer,
    key: Key = None,
    key_file: KeyFile = None,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    deployment: Manifest = None,
) -> None:
    """For the lane's submitter: ends that for promises of more than a challenge window from now."""
    account, chain = _account(key, key_file), _chain(home, rpc_url, deployment)
    receipt = chain.dismiss_receipt_signer(account, lane, signer)
    typer.echo(f"dismissed in transaction 0x{receipt['transactionHash'].hex()}")
