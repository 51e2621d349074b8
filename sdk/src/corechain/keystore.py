"""Private keys that lie encrypted on a disk. Source: Ethereum's "Web3 Secret Storage Definition",
version 3: what geth, Foundry's `cast wallet` and most wallets write."""

import json
from typing import Any

FIELD = "keystore_password"
"""The name of the setting with the password of all keystores of a process."""


class WrongKeystore(Exception):
    """It cannot be opened. The message holds nothing of it, and not the password."""


def is_keystore(text: str) -> bool:
    """Whether the value of a key's setting is a keystore, and not a key."""
    return text.lstrip().startswith("{")


def open_keystore(text: str, password: str | None) -> str:
    """The key in hexadecimal. Takes a second and 256 MB for a keystore of geth's: that is what
    makes guessing dear. Raises WrongKeystore."""
    if password is None:
        raise WrongKeystore("is a keystore, and its password is not set")
    # Here: only who has a keystore pays for the import.
    from eth_keyfile.keyfile import decode_keyfile_json

    try:
        # Bytes, whatever its annotation says: with a str its PBKDF2 fails.
        secret: Any = password.encode()
        return bytes(decode_keyfile_json(json.loads(text), secret)).hex()
    except ValueError as error:
        if "MAC" in str(error):
            raise WrongKeystore("is a keystore of another password") from None
        raise WrongKeystore("is not a keystore of version 3") from None
    except (KeyError, TypeError, AttributeError, NotImplementedError):
        raise WrongKeystore("is not a keystore of version 3") from None
