"""Calls of our contracts, encoded by hand: static types only, one word each."""

from corechain.protocol.eip712 import uint_word
from corechain.protocol.hashing import keccak


def selector(signature: str) -> bytes:
    return keccak(signature.encode())[:4]


COMMIT = selector("commit(uint48,bytes26)")
PROPOSE_ROOT = selector("proposeRoot(uint32,bytes26,uint64,uint128)")


def bytes26_word(digest: bytes) -> bytes:
    """bytesN stand on the left of their word."""
    assert len(digest) == 26
    return digest + bytes(6)


def commit_call(batch_id: int, commitment: bytes) -> bytes:
    return COMMIT + uint_word(batch_id) + bytes26_word(commitment)
