"""The key of an account that pays, as options of a command."""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

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


def account_of(key: str | None, file: Path | None) -> "LocalAccount":
    """Of the key, or of the one in the file. Exits with 2 for none, both, or what is no key."""
    from corechain.account import account_from_key
    from corechain.protocol.errors import InvalidValue
    from corechain.service.keystore import WrongKeystore, is_keystore, open_keystore

    if (key is None) == (file is None):
        raise typer.BadParameter("name one of --key-file and --key, or its variable")
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
