"""A contract's refusal in words. web3 takes half a second of CPU to import: only when needed."""

from corechain.service.errors import NodeRefused

DATA_LENGTH = 4096
"""Revert data that is read: a contract of somebody else may return anything, at any length."""


def revert_reason(error: NodeRefused) -> str:
    """The contract's error by name and values where it is one of ours, else the node's words."""
    if error.data is None or not error.data.startswith("0x"):
        return error.message
    from eth_abi.exceptions import DecodingError

    from corechain.contracts import RevertDecoder
    from corechain.deployment import load_abi
    from corechain.reader import CONTRACTS

    decoder = RevertDecoder.of([load_abi(name) for name in CONTRACTS])
    try:
        found = decoder.error(error.data[:DATA_LENGTH])
    except (ValueError, DecodingError):
        return error.message
    return f"{type(found).__name__}: {found}"
