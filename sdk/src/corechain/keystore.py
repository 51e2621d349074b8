"""Private keys that lie encrypted on a disk. Source: Ethereum's "Web3 Secret Storage Definition",
version 3: what geth, Foundry's `cast wallet` and most wallets write."""

import json
from typing import Any

from corechain.protocol.errors import InvalidValue
from corechain.protocol.keys import Secp256k1Key

CIPHER = "aes-128-ctr"
"""The only one that wallets write."""
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
        found = json.loads(text)
        # Bytes, whatever its annotation says: with a str its PBKDF2 fails.
        secret: Any = password.encode()
        key = bytes(decode_keyfile_json(found, secret))
        _check(found, key)
    except ValueError as error:
        if "MAC" in str(error):
            raise WrongKeystore("is a keystore of another password") from None
        raise WrongKeystore("is not a keystore of version 3") from None
    except _DAMAGED:
        raise WrongKeystore("is not a keystore of version 3") from None
    return key.hex()


_DAMAGED = (
    *(KeyError, TypeError, AttributeError, NotImplementedError, InvalidValue),
    *(ArithmeticError, MemoryError, RecursionError),  # numbers that no wallet writes, or no JSON
)


def _check(found: dict[str, Any], key: bytes) -> None:
    """The MAC is of the password and the ciphertext alone: with another cipher, or an initial
    vector that was damaged, what comes out is another key, whose address nobody has funded.

    Raises WrongKeystore, ValueError, KeyError; InvalidValue for 32 bytes that are no private key.
    """
    crypto = found["crypto"] if "crypto" in found else found["Crypto"]
    if crypto["cipher"] != CIPHER:
        raise ValueError("another cipher")
    # A device's id is made as an address is: the last 20 bytes of the public key's hash.
    address = bytes(Secp256k1Key(key).identity.device).hex()
    named = found.get("address") or address  # not every wallet writes it
    if str(named).lower().removeprefix("0x") != address:
        raise WrongKeystore("is a damaged keystore: its key is not of the address in it")
