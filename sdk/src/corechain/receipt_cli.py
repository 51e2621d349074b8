"""`corechain receipt`: look at a receipt in a file, demand its report on chain, name who signs."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corechain.cli import DEFAULT_HOME, Home, Manifest, Rpc, _places
from corechain.key_options import Key, KeyFile, account_of

if TYPE_CHECKING:
    from corechain.chain import Chain
    from corechain.protocol.keys import DeviceIdentity
    from corechain.receipts import KeptReceipt
    from corechain.transactions import Receipt

commands = typer.Typer(
    help="Completeness receipts: what a gateway has promised, and how to hold it to that.",
    no_args_is_help=True,
)
File = Annotated[
    Path, typer.Argument(help="A receipt with its report, as `KeptReceipt.save` writes it.")
]
Lane = Annotated[int, typer.Option(min=0, max=0xFFFF)]
Signer = Annotated[str, typer.Option(help="Address of the gateway's receipt key.")]
GONE = 1
"""Exit code of a receipt that nothing stands behind."""


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


def _identity(device: bytes, key_type: int, public_key: str | None) -> "DeviceIdentity":
    """Who has signed. Exits with 2 where the key is missing, or is another device's."""
    from corechain.protocol.keys import DeviceIdentity, KeyType, device_id
    from corechain.protocol.reading import DeviceId

    if key_type == KeyType.SECP256K1:
        return DeviceIdentity(DeviceId(device), KeyType.SECP256K1)
    if public_key is None:
        raise typer.BadParameter(
            f"the public key of device 0x{device.hex()}, on P-256, was never published: name it",
            param_hint="--public-key",
        )
    try:
        found = bytes.fromhex(public_key.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != 64 or device_id(found) != device:
        what = f"it is not the key of device 0x{device.hex()}"
        raise typer.BadParameter(what, param_hint="--public-key")
    return DeviceIdentity(DeviceId(device), KeyType.P256, found)


@commands.command()
def demand(
    file: File,
    key: Key = None,
    key_file: KeyFile = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            help="Of a device on P-256 whose key the registry's log has not: x, y, 128 hexadecimal "
            "digits."
        ),
    ] = None,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    deployment: Manifest = None,
) -> None:
    """Demand the report of a receipt whose time is over: the lane shows it in a batch, or loses its
    bond. Costs the demand fee, which whoever answers gets."""
    from corechain.protocol.keys import KeyType

    kept, chain = _loaded(file), _chain(home, rpc_url, deployment)
    device = kept.report.report.device
    _, key_type = chain.owner_and_key_type(device)
    if public_key is None and key_type == KeyType.P256:
        found = chain.public_key_of(device)
        public_key = None if found is None else found.hex()
    identity, fleet = _identity(device, key_type, public_key), chain.fleet_of(device)
    receipt = chain.demand_receipt(
        account_of(key, key_file), kept.proof, kept.report, identity, fleet
    )
    typer.echo(f"demanded in transaction 0x{receipt['transactionHash'].hex()}")


def _signer_command(name: str, done: str, purpose: str, call: "Callable[..., Receipt]") -> None:
    """Adds a command by which a lane's submitter changes who signs its receipts."""

    def change(
        lane: Lane,
        signer: Signer,
        key: Key = None,
        key_file: KeyFile = None,
        home: Home = DEFAULT_HOME,
        rpc_url: Rpc = None,
        deployment: Manifest = None,
    ) -> None:
        account, chain = account_of(key, key_file), _chain(home, rpc_url, deployment)
        receipt = call(chain, account, lane, signer)
        typer.echo(f"{done} in transaction 0x{receipt['transactionHash'].hex()}")

    commands.command(name, help=purpose)(change)


_signer_command(
    "name-signer",
    "named",
    "For the lane's submitter: its bond answers for receipts that this account signs.",
    lambda chain, *what: chain.name_receipt_signer(*what),
)
_signer_command(
    "dismiss-signer",
    "dismissed",
    "For the lane's submitter: ends that for promises of more than a challenge window from now.",
    lambda chain, *what: chain.dismiss_receipt_signer(*what),
)
