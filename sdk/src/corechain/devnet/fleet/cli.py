"""`corechain fleet`: many devices, from their keys to their acknowledgements."""

import time
from pathlib import Path
from typing import Annotated

import typer

from corechain.cli_options import NODE, Given, shares
from corechain.devnet.fleet.progress import progress_bar
from corechain.devnet.fleet.send_command import send
from corechain.devnet.settings import ADMIN_KEY, CHAIN_ID
from corechain.key_options import account_of
from corechain.output_files import writable

fleet = typer.Typer(
    help="Load for a relayer: devices enrolled by root, reports signed ahead and replayed.",
    no_args_is_help=True,
)
Devices = Annotated[int, typer.Option(min=1, help="How many devices.")]
Name = Annotated[str, typer.Option(help="The fleet's name: its keys follow from it.")]
P256 = Annotated[bool, typer.Option("--p256", help="Keys as secure elements have them.")]


def _say(line: str) -> None:
    typer.echo(f"· {line}")


@fleet.command()
@shares(*NODE)
def enrol(
    devices: Devices = 1_000,
    name: Name = "fleet",
    p256: P256 = False,
    key: Annotated[
        str | None,
        typer.Option(envvar="CORECHAIN_ENROLLER_KEY", help="Key of an enroller; local: the admin."),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="CORECHAIN_ENROLLER_KEY_FILE",
            help="File with that key: hexadecimal, or a keystore (CORECHAIN_KEYSTORE_PASSWORD).",
        ),
    ] = None,
    *,
    given: Given,
) -> None:
    """Register the fleet's devices by root: 4,096 in a transaction."""
    from corechain.devnet.fleet import enrol as enrolling
    from corechain.devnet.fleet.signing import all_device_ids, jobs_for, worker_pool
    from corechain.protocol.keys import KeyType

    is_admin = key is None and key_file is None
    account = account_of(ADMIN_KEY if is_admin else key, key_file)
    chain = given.chain()
    if is_admin and chain.deployment.chain_id != CHAIN_ID:
        raise typer.BadParameter("--key-file is needed on a chain that is not the local one")
    if is_admin:
        enrolling.allow(chain, account)
    kind = KeyType.P256 if p256 else KeyType.SECP256K1
    with worker_pool(jobs_for(devices)) as pool:
        ids = all_device_ids(name, kind, devices, pool)
    sent = enrolling.enrol(chain, account, ids, kind)
    if p256:
        sent += enrolling.publish(chain, account, name, devices)
    _say(f"{devices:,} devices enrolled in {sent} transactions")


@fleet.command()
@shares("home", "deployment")
def sign(
    file: Annotated[Path, typer.Argument(help="File to write.", callback=writable)],
    devices: Devices = 1_000,
    reports: Annotated[int, typer.Option(min=1, help="Reports of each device.")] = 20,
    observations: Annotated[int, typer.Option(min=1, max=1024, help="In each report.")] = 1,
    name: Name = "fleet",
    p256: P256 = False,
    first_sequence: Annotated[int, typer.Option(min=0)] = 1,
    backlog: Annotated[
        bool, typer.Option("--backlog", help="Reports of a device together, not all in turn.")
    ] = False,
    hour: Annotated[
        int, typer.Option(min=1, help="Seconds from one hourly observation to the next.")
    ] = 3_600,
    start: Annotated[
        int | None, typer.Option(help="Unix time of the first hour; the last one is now if absent.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; one a core if absent.")
    ] = None,
    *,
    given: Given,
) -> None:
    """Sign real observations, moved in time and place, into a file to be sent."""
    from corechain.deployment import load_deployment
    from corechain.devnet.fleet.replay import Replay, longest_hours
    from corechain.devnet.fleet.shape import Shape
    from corechain.devnet.fleet.signing import Order, jobs_for, sign_file
    from corechain.protocol.keys import KeyType

    shape = Shape(devices, reports, observations, first_sequence, backlog)
    manifest = load_deployment(given.places().deployment)
    if start is None:
        start = int(time.time()) - longest_hours(reports * observations) * hour
    order = Order(
        name,
        manifest.chain_id,
        manifest.address("DeviceRegistry"),
        Replay(shape, start, hour),
        KeyType.P256 if p256 else KeyType.SECP256K1,
    )
    with progress_bar("signing", shape.total) as bar:
        sign_file(order, file, jobs or jobs_for(shape.total), bar.advance)
    _say(f"{shape.total:,} reports in {file}, {file.stat().st_size / 1e6:,.1f} MB")


fleet.command("send")(send)
