"""`corechain bridge …`: the commands of the bridge."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corechain.option_checks import line_option
from corechain.protocol.errors import CoreChainError
from corechain.service.command import FAILED, WRONG_SETTING, configured, refuse, run_to_end
from corechain.service.settings import InvalidSetting
from corechain.versions import version_option
from corechain_relayer.bridge.settings import Settings, load_settings

if TYPE_CHECKING:
    from corechain_relayer.bridge.store import BridgeStore

commands = typer.Typer(help="Stations that cannot sign, and the bridge that does.")
stations = typer.Typer(help="The stations of this bridge.", no_args_is_help=True)
commands.add_typer(stations, name="station")


@commands.callback()
def options(version: Annotated[bool, version_option("corechain-relayer")] = False) -> None:
    """What stands before a command."""


@contextmanager
def _errors() -> Iterator[None]:
    """One sentence and an exit code for whatever we raise on purpose."""
    try:
        yield
    except InvalidSetting as error:
        refuse(error, WRONG_SETTING)
    except (CoreChainError, OSError, UnicodeDecodeError) as error:
        refuse(error, FAILED)


@contextmanager
def _store(settings: Settings) -> "Iterator[BridgeStore]":
    from corechain_relayer.bridge.store import opened

    with (
        _errors(),
        opened(settings.data_dir, settings.max_reports, settings.station_reports) as store,
    ):
        yield store


@commands.command()
def run() -> None:
    """Run the bridge until SIGTERM. Settings: BRIDGE_* in the environment."""
    from corechain_relayer.bridge import service

    settings, deployment = configured(load_settings)
    run_to_end(service.run(settings, deployment))


@stations.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What you call it.", callback=line_option)],
    format_: Annotated[str, typer.Option("--format", help="What it sends: see docs/bridge.md.")],
    latitude: Annotated[float | None, typer.Option(help="Degrees north.")] = None,
    longitude: Annotated[float | None, typer.Option(help="Degrees east.")] = None,
    cell: Annotated[str | None, typer.Option(help="H3 cell, instead of degrees.")] = None,
    elevation: Annotated[
        float | None, typer.Option(help="Metres above sea level, to reduce its pressure.")
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="Of its local times; else UTC.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="TOML file of its fields.")] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            help="DevEUI, callsign, …: where stations share a token.", callback=line_option
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with a token to share; else a new one is made.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Of its source, to be polled.")] = None,
    every: Annotated[int | None, typer.Option(help="Seconds between two polls.")] = None,
    header_file: Annotated[
        Path | None, typer.Option(help="File with a header line for the source (X-API-Key: …).")
    ] = None,
    owner: Annotated[
        str | None, typer.Option(help="Account that is paid; else the one that registers.")
    ] = None,
    registered: Annotated[
        bool, typer.Option("--register/--no-register", help="Put it into the registry now.")
    ] = True,
) -> None:
    """Add a station: makes its key, registers its device, prints where it uploads to (once)."""
    from corechain_relayer.bridge import admin
    from corechain_relayer.bridge.keys import KeyFolder
    from corechain_relayer.bridge.service import KEYS

    settings, deployment = configured(load_settings)
    with _store(settings) as store:
        new = admin.NewStation(
            name=name,
            format=format_,
            cell=cell,
            latitude=latitude,
            longitude=longitude,
            elevation_m=elevation,
            timezone=timezone,
            mapping=None if mapping is None else mapping.read_text(),
            identity=identity,
            token=None if token_file is None else token_file.read_text().strip(),
            url=url,
            every_s=every,
            header=None if header_file is None else header_file.read_text().strip(),
        )
        if registered:
            admin.require_registrar(settings)
        added = admin.add_station(store, KeyFolder(settings.data_dir / KEYS), new)
        # Before the registration: whatever becomes of that, the token is not lost.
        typer.echo(json.dumps(added.summary(), indent=2))
        if registered:
            paid = admin.register(settings, deployment, added.station, owner)
            typer.echo(f"registered for {paid}", err=True)


def _utc(at: int | None) -> str | None:
    """As people read it."""
    return None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


@stations.command("list")
def list_() -> None:
    """List the stations as JSON: what was observed last, what waits. Tokens are not kept."""
    settings, _ = configured(load_settings)
    with _store(settings) as store:
        found = [
            {
                "name": one.name,
                "format": one.format,
                "device": "0x" + one.device.hex(),
                "cell": f"{one.cell:015x}",
                "elevation_m": one.profile.elevation_m,
                "identity": one.identity,
                "polled_every_s": one.every_s or None,
                # What tells whether its uploads arrive, and whether they go on from here.
                "newest_observation": _utc(store.newest(one.id)),
                "waiting_reports": store.waiting(one.id),
            }
            for one in store.stations()
        ]
    typer.echo(json.dumps(found, indent=2))


@stations.command("register")
def register_station(
    name: Annotated[str, typer.Argument(help="What it is called.", callback=line_option)],
    owner: Annotated[
        str | None, typer.Option(help="Account that is paid; else the one that registers.")
    ] = None,
) -> None:
    """Put a station's device into the registry, if `add` did not."""
    from corechain_relayer.bridge import admin

    settings, deployment = configured(load_settings)
    with _store(settings) as store:
        paid = admin.register(settings, deployment, store.named(name), owner)
    typer.echo(f"registered for {paid}")


@stations.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="What it is called.", callback=line_option)],
) -> None:
    """Take no more uploads of a station. What waits is still sent; its key stays on disk."""
    import time

    settings, _ = configured(load_settings)
    with _store(settings) as store:
        station = store.remove(name, int(time.time()))
    typer.echo(f"removed; its owner can revoke 0x{station.device.hex()} on chain")


@commands.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV (.csv, .tsv, .txt) or NDJSON.")],
    station: Annotated[
        str, typer.Option(help="Whose observations they are.", callback=line_option)
    ],
) -> None:
    """Queue a station's archive; a running bridge sends it. What was imported is left out."""
    from corechain_relayer.bridge import admin
    from corechain_relayer.bridge.keys import KeyFolder
    from corechain_relayer.bridge.service import KEYS, client_of

    settings, deployment = configured(load_settings)
    client, keys = client_of(settings, deployment), KeyFolder(settings.data_dir / KEYS)
    with _store(settings) as store, file.open("rb") as lines:
        found = None
        for found in admin.import_rows(
            store,
            store.named(station),
            lambda one, sequence, seen: client.sign_report(keys.of(one.device), sequence, seen),
            lines,
            admin.kind_of(file),
        ):
            typer.echo(f"{found.rows} rows", err=True)
    done = found or admin.Imported(0, 0, {})
    document = {"rows": done.rows, "observations": done.observations, "skipped": done.skipped}
    typer.echo(json.dumps(document, indent=2))


@commands.command()
def refused(limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100) -> None:
    """List reports that the gateway refused for good, newest first, as JSON."""
    from corechain.protocol.reading import unpack_report

    settings, _ = configured(load_settings)
    with _store(settings) as store:
        found = [
            {
                "station": row["name"],
                "refused_at": row["refused_at"],
                "reason": row["reason"],
                "sequence": unpack_report(row["report"])[0].report.sequence,
                "observations": unpack_report(row["report"])[0].report.count,
            }
            for row in store.refused(limit)
        ]
    typer.echo(json.dumps(found, indent=2))
