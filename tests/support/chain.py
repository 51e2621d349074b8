"""What the tests ask of an anvil beyond the standard: snapshots."""

from collections.abc import Iterator
from contextlib import contextmanager

from corechain.devnet.servers import rpc


@contextmanager
def reverted_after(url: str) -> Iterator[None]:
    """The chain is afterwards as it was before."""
    snapshot = rpc(url, "evm_snapshot")
    try:
        yield
    finally:
        assert rpc(url, "evm_revert", snapshot, timeout_s=10.0) is True
