"""`corechain receipt`: look at a receipt in a file, demand its report on chain, name who signs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corechain.cli_options import ACCOUNT, JSON, NODE, Given, shares
from corechain.cli_output import show
from corechain.times import moment

if TYPE_CHECKING:
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


@commands.command()
@shares(*NODE, *JSON)
def check(file: File, given: Given) -> None:
    """Prove that a receipt is of its report, and ask the chain who stands behind it.

    Exit code 0: a bond does. 1: none, or not any more.
    """
    from corechain.receipt_check import ReceiptChecks

    kept, chain = _loaded(file), given.chain()
    standing = ReceiptChecks(chain).standing(kept)
    report = kept.report.report
    rows = {
        "device": f"0x{report.device.hex()}",
        "sequence": str(report.sequence),
        "lane": str(kept.lane),
        "bond_of": moment(kept.since),
        "signed_by": f"0x{standing.signer.hex()}",
        "in_a_batch_by": moment(kept.commit_by),
        "can_be_demanded_until": moment(standing.demandable_until),
        "standing": standing.word,
    }
    show(rows, given.as_json)
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
@shares(*ACCOUNT, *NODE, *JSON)
def demand(
    file: File,
    public_key: Annotated[
        str | None,
        typer.Option(
            help="Of a device on P-256 whose key the registry's log has not: x, y, 128 hexadecimal "
            "digits."
        ),
    ] = None,
    *,
    given: Given,
) -> None:
    """Demand the report of a receipt whose time is over: the lane shows it in a batch, or loses its
    bond. Costs the demand fee, which whoever answers gets."""
    from corechain.protocol.keys import KeyType

    kept, chain = _loaded(file), given.chain()
    device = kept.report.report.device
    _, key_type = chain.owner_and_key_type(device)
    if public_key is None and key_type == KeyType.P256:
        found = chain.public_key_of(device)
        public_key = None if found is None else found.hex()
    identity, fleet = _identity(device, key_type, public_key), chain.fleet_of(device)
    receipt = chain.demand_receipt(given.account(), kept.proof, kept.report, identity, fleet)
    _sent("demanded", receipt, given.as_json)


def _sent(done: str, receipt: "Receipt", as_json: bool) -> None:
    show({f"{done}_in_transaction": f"0x{receipt['transactionHash'].hex()}"}, as_json)


def _signer_command(name: str, done: str, purpose: str, call: "Callable[..., Receipt]") -> None:
    """Adds a command by which a lane's submitter changes who signs its receipts."""

    @shares(*ACCOUNT, *NODE, *JSON)
    def change(lane: Lane, signer: Signer, given: Given) -> None:
        account = given.account()  # before the chain: a wrong key is a wrong argument
        receipt = call(given.chain(), account, lane, signer)
        _sent(done, receipt, given.as_json)

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
