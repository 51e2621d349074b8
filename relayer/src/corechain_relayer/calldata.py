"""Calls of our contracts, encoded by hand: static types only, one word each."""

from corechain.protocol.hashing import keccak


def selector(signature: str) -> bytes:
    return keccak(signature.encode())[:4]


COMMIT = selector("commitBrief(bytes32)")
PROPOSE = selector("proposeInBrief()")


def commit_call(batch_id: int, commitment: bytes) -> bytes:
    """The commitment, then the batch id in the last 6 bytes: `committed_id` reads it back."""
    assert len(commitment) == 26
    return COMMIT + commitment + batch_id.to_bytes(6, "big")


def commitment_in(calldata: bytes) -> bytes | None:
    """What a `commit_call` commits; None of any other call."""
    return calldata[4:30] if calldata.startswith(COMMIT) else None


def committed_id(calldata: bytes) -> int:
    """The batch that a `commit_call` is about."""
    return int.from_bytes(calldata[30:36], "big")
