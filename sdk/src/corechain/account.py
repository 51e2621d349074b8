"""Accounts that pay gas. Light: the signing library is loaded when the first account is made."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


def account_from_key(secret: str | bytes) -> "LocalAccount":
    """A signing account from a private key. The secret never appears in its repr."""
    from eth_account import Account

    account: LocalAccount = Account.from_key(secret)
    return account
