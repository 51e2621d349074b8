"""`corechain relayer backup …`: the database and the data files of a relayer, as one set."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corechain.implementation import NativeMissing, check_implementation
from corechain.service.command import WRONG_SETTING, configured, refuse, run_once
from corechain.service.logs import configure_logs
from corechain.service.settings import InvalidSetting
from corechain_relayer.settings import load_files, load_stored

if TYPE_CHECKING:
    from corechain_relayer.backup.manifest import Manifest
    from corechain_relayer.backup.sets import Backups

commands = typer.Typer(
    help="Back up and restore a relayer: its database with its data files.",
    no_args_is_help=True,
)
Set = Annotated[Path, typer.Argument(help="A backup, as `take` has named it.")]


@commands.command()
def take(
    folder: Annotated[
        Path, typer.Argument(help="Where backups are kept; data files are copied there once.")
    ],
    files: Annotated[
        bool, typer.Option(help="With the data files; without, back up RELAYER_DATA_DIR after it.")
    ] = True,
) -> None:
    """Take a backup while the relayer runs. Prints what it is as JSON.

    Settings: RELAYER_DATABASE_URL, RELAYER_DATA_DIR, RELAYER_DEPLOYMENT.
    """
    from corechain_relayer.backup.manifest import read_manifest

    backups = _backups()

    async def main() -> None:
        done = await backups.take(folder, with_files=files)
        _show(done, read_manifest(done))

    run_once(main())


@commands.command()
def check(backup: Set) -> None:
    """Check that a backup is whole. Exit code 1 where it is not.

    Needs no database and no settings; one that was taken with `--no-files` needs RELAYER_DATA_DIR.
    """
    from corechain_relayer.backup import sets

    data_dir = _data_dir()

    async def main() -> None:
        _show(backup, sets.check(backup, data_dir))

    run_once(main())


@commands.command()
def restore(backup: Set) -> None:
    """Restore a backup into an empty database, and its data files into RELAYER_DATA_DIR.

    Cut off at any moment, it can be run again. A damaged data file that is there already is kept
    aside as `….damaged`. Settings: as `take`.
    """
    backups = _backups()

    async def main() -> None:
        _show(backup, await backups.restore(backup))

    run_once(main())


def _backups() -> "Backups":
    from corechain_relayer.backup.sets import Backups

    settings, deployment = configured(load_stored)
    return Backups(settings.session_url, settings.data_dir, deployment)


def _data_dir() -> Path | None:
    """With logs set up; exits with 2 when the setting is wrong."""
    configure_logs("info")
    try:
        check_implementation(os.environ)
        return load_files().data_dir
    except (InvalidSetting, NativeMissing) as error:
        refuse(error, WRONG_SETTING)


def _show(backup: Path, manifest: "Manifest") -> None:
    rows = {table.name: table.rows for table in manifest.tables}
    found = {
        "backup": str(backup.resolve()),
        "taken_at": manifest.taken_at,
        "version": manifest.version,
        "chain_id": manifest.chain_id,
        "batches": manifest.batches,
        "last": manifest.last,
        "rows": rows,
        "files": manifest.files,
    }
    typer.echo(json.dumps(found, indent=2))
