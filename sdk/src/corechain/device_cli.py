"""`corechain device`: a key for a device, its registration, and readings sent by hand."""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.cli_options import ACCOUNT, ALL, JSON, NODE, Given, shares
from corechain.cli_output import show
from corechain.key_options import secret_in
from corechain.protocol.errors import InvalidValue

if TYPE_CHECKING:
    from corechain.protocol.keys import DeviceKey
    from corechain.protocol.reading import Observation

commands = typer.Typer(
    help="Devices: make a key, register it, send signed readings.", no_args_is_help=True
)
REFUSED = 1
"""Exit code of a report that the gateway did not take."""
CURVES = ("secp256k1", "p256")
Curve = Annotated[str, typer.Option(help="secp256k1, or p256 as in a secure element.")]
DeviceFile = Annotated[Path, typer.Argument(help="The device's key, as `device new` writes it.")]
Values = Annotated[
    list[str], typer.Argument(help="METRIC=VALUE in the metric's unit: air_temperature=21.5")
]
Cell = Annotated[str, typer.Option(help="H3 cell, or latitude,longitude in degrees.")]
Owner = Annotated[
    str | None, typer.Option(help="Who earns its rewards; default: the account that pays.")
]
At = Annotated[str | None, typer.Option(help="Seconds since 1970, or ISO 8601; default: now.")]
Patience = Annotated[float, typer.Option(min=0, help="Seconds to ask a busy gateway again.")]


def _key(file: Path) -> "DeviceKey":
    """The key of a file: `secp256k1 <hex>` or `p256 <hex>`; hex or a keystore alone is a
    secp256k1 key. Exits with 2 for what is none."""
    from corechain.protocol.keys import P256Key, Secp256k1Key

    curve, _, digits = secret_in(file, "FILE").rpartition(" ")
    kinds: dict[str, Callable[[Any], DeviceKey]] = {
        "": Secp256k1Key,
        CURVES[0]: Secp256k1Key,
        CURVES[1]: P256Key,
    }
    try:
        return kinds[curve](digits)
    except (KeyError, InvalidValue):
        right = f"{file} holds no device key: `corechain device new {file}` makes one"
        raise typer.BadParameter(right) from None


@commands.command()
@shares(*JSON)
def new(file: DeviceFile, curve: Curve = CURVES[0], *, given: Given) -> None:
    """Make a key and write it into a new file that only its owner can read; print the device id."""
    if curve not in CURVES:
        raise typer.BadParameter(f"it is one of {', '.join(CURVES)}", param_hint="--curve")
    try:
        # Never over another key: what it has signed for would be lost.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w") as key:
            # All but one number in 2**128 is a key of either curve.
            key.write(f"{curve} {secrets.token_hex(32)}\n")
            key.flush()
            os.fsync(key.fileno())
    except OSError as error:  # a full disk: half a key would be in the way of the next try
        file.unlink()
        raise typer.BadParameter(f"{file}: {error.strerror}") from None
    device = _key(file).identity.device
    show({"device": f"0x{device.hex()}", "curve": curve, "file": str(file)}, given.as_json)


@commands.command("id")
@shares(*JSON)
def show_id(file: DeviceFile, given: Given) -> None:
    """Print the device id of a key."""
    identity = _key(file).identity
    show(
        {"device": f"0x{identity.device.hex()}", "curve": CURVES[identity.key_type - 1]},
        given.as_json,
    )


@commands.command("register")
@shares(*ACCOUNT, *NODE, *JSON)
def register_device(
    file: DeviceFile,
    owner: Annotated[
        str | None, typer.Option(help="Who earns its rewards; default: payer.")
    ] = None,
    *,
    given: Given,
) -> None:
    """Register a device on chain, signed by its own key and paid by an account."""
    device, _ = _key(file), given.account()
    with given.client() as client:
        receipt = client.register_device(device, owner)
    show(
        {
            "device": f"0x{device.identity.device.hex()}",
            "transaction": f"0x{receipt['transactionHash'].hex()}",
            "block": receipt["blockNumber"],
            "gas": receipt["gasUsed"],
        },
        given.as_json,
    )


def _observation(text: str, cell: Any, at: Any) -> "Observation":
    """Raises InvalidValue, UnknownMetric, ValueOutOfRange, InvalidCell."""
    from corechain.cli_values import number_of
    from corechain.protocol.reading import Observation

    metric, equals, value = text.partition("=")
    try:
        number = number_of(value)
    except ValueError:
        equals = ""
    if not equals:
        raise InvalidValue("value", text, "takes METRIC=VALUE: air_temperature=21.5")
    return Observation.in_unit(metric, cell, at, number)


@commands.command()
@shares(*ALL, *JSON)
def send(
    file: DeviceFile,
    values: Values,
    cell: Cell,
    at: At = None,
    patience: Patience = 60.0,
    *,
    given: Given,
) -> None:
    """Sign one report of values and send it; returns when the gateway holds it durably."""
    from corechain.cli_values import place_of, time_of
    from corechain.process_turns import process_turn

    device, place = _key(file), place_of(cell)
    second = int(time.time()) if at is None else time_of("at", at)
    observations = [_observation(value, place, second) for value in values]
    # One process after the other: two would sign two reports with the same sequence.
    with given.client() as client, process_turn(device.identity.device):
        sequence = client.next_sequence(device.identity.device)
        report = client.sign_report(device, sequence, observations)
        (delivery,) = client.send_reports([report], patience)
    show(
        {
            "device": f"0x{device.identity.device.hex()}",
            "sequence": sequence,
            "observations": len(observations),
            "accepted": delivery.accepted,
            "refused_as": delivery.error,
        },
        given.as_json,
    )
    if not delivery.accepted:
        raise typer.Exit(REFUSED)
