"""Calls of our contracts, encoded by hand: static types only, one word each."""

from corechain.protocol.hashing import keccak


def selector(signature: str) -> bytes:
    return keccak(signature.encode())[:4]


COMMIT = selector("commitBrief(bytes32)")
PROPOSE_ROOT = selector("proposeRoot(uint32,bytes26,uint64,uint128)")


def bytes26_word(digest: bytes) -> bytes:
    """bytesN stand on the left of their word."""
    assert len(digest) == 26
    return digest + bytes(6)


def commit_call(batch_id: int, commitment: bytes) -> bytes:
    """The commitment, then the batch id in the last 6 bytes: `committed_id` reads it back."""
    assert len(commitment) == 26
    return COMMIT + commitment + batch_id.to_bytes(6, "big")


def committed_id(calldata: bytes) -> int:
    """The batch that a `commit_call` is about."""
    return int.from_bytes(calldata[30:36], "big")
