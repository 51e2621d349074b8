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
HINT = "--key-file"


def account_of(key: str | None, file: Path | None) -> "LocalAccount":
    """Of the key, or of the one in the file. Exits with 2 for none, both, or what is no key."""
    from corechain.account import account_from_key
    from corechain.protocol.errors import InvalidValue

    if (key is None) == (file is None):
        raise typer.BadParameter("name one of --key-file and --key, or its variable")
    text = secret_in(file) if file else opened(key or "")
    try:
        return account_from_key(text)
    except (InvalidValue, ValueError):  # words of the latter may hold the key
        raise typer.BadParameter("it is not a private key", param_hint=HINT) from None


def secret_in(file: Path, hint: str = HINT) -> str:
    """The key in a file that not every user of the machine may read; `hint`: the option or argument
    that named it. Exits with 2."""
    return opened(_private_text(file, hint), hint)


def opened(text: str, hint: str = HINT) -> str:
    """The key in a keystore, or the text as it is. Exits with 2."""
    from corechain.keystore import WrongKeystore, is_keystore, open_keystore

    if not is_keystore(text):
        return text
    try:
        return open_keystore(text, os.environ.get("CORECHAIN_KEYSTORE_PASSWORD"))
    except WrongKeystore as error:
        raise typer.BadParameter(
            f"the key {error} (CORECHAIN_KEYSTORE_PASSWORD)", param_hint=hint
        ) from None


def _private_text(file: Path, hint: str) -> str:
    try:
        if file.stat().st_mode & stat.S_IROTH:
            raise typer.BadParameter(f"every user can read {file}: chmod 600", param_hint=hint)
        return file.read_text().strip()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint=hint) from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} holds no text", param_hint=hint) from None
