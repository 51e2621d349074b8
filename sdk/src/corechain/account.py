"""Accounts that pay gas. Light: the signing library is loaded when the first account is made."""

from typing import TYPE_CHECKING

from corechain.protocol.errors import InvalidValue
from corechain.protocol.keys import Secp256k1Key

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


def account_from_key(secret: str | bytes) -> "LocalAccount":
    """A signing account from a private key, 32 bytes or hex. The secret never appears in its repr.

    Raises InvalidValue, which does not show it either.
    """
    from eth_account import Account

    account: LocalAccount = Account.from_key(Secp256k1Key(secret).secret)  # type: ignore[arg-type]
    return account


def check_key(key: object) -> None:
    """Raises InvalidValue for what signs no reports."""
    if not hasattr(key, "identity") or not hasattr(key, "sign"):
        raise InvalidValue("key", key, "takes a device key: Secp256k1Key or P256Key")
