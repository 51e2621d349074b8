"""A contract's refusal in words. web3 takes half a second of CPU to import: only when needed."""

from functools import cache
from typing import TYPE_CHECKING

from corechain.service.errors import NodeRefused
from corechain.service.reasons import legible

if TYPE_CHECKING:
    from corechain.contracts import RevertDecoder

DATA_LENGTH = 4096
"""Revert data that is read: a contract of somebody else may return anything, at any length."""


def revert_reason(error: NodeRefused) -> str:
    """The contract's error by name and values where it is one of ours, else the node's words."""
    if error.data is None or not error.data.startswith("0x"):
        return error.message
    from eth_abi.exceptions import DecodingError

    try:
        found = _decoder().error(error.data[:DATA_LENGTH])
    except (ValueError, DecodingError):
        return error.message
    return legible(f"{type(found).__name__}: {found}")


@cache
def _decoder() -> "RevertDecoder":
    """Of all contracts: their ABIs are parsed once, 24 ms, not for every revert."""
    from corechain.contracts import RevertDecoder
    from corechain.deployment import load_abi
    from corechain.reader import CONTRACTS

    return RevertDecoder.of([load_abi(name) for name in CONTRACTS])
