"""What the tests ask of an anvil beyond the standard: snapshots, blocks on demand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from corechain.devnet.servers import rpc
from support.processes import PATIENCE_S


@contextmanager
def reverted_after(url: str) -> Iterator[None]:
    """The chain is afterwards as it was before."""
    snapshot = rpc(url, "evm_snapshot")
    try:
        yield
    finally:
        assert rpc(url, "evm_revert", snapshot, timeout_s=PATIENCE_S) is True


@contextmanager
def mined_later(url: str) -> Iterator[None]:
    """Blocks come when they are asked for (`evm_mine`); afterwards at once again."""
    rpc(url, "evm_setAutomine", False)
    try:
        yield
    finally:
        rpc(url, "evm_setAutomine", True)
        rpc(url, "evm_mine")


@dataclass(frozen=True)
class AnvilClock:
    """The time of a chain, in seconds, and what it counts."""

    url: str

    @property
    def now(self) -> int:
        return int(rpc(self.url, "eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def pass_time(self, seconds: int) -> None:
        rpc(self.url, "evm_increaseTime", seconds)
        rpc(self.url, "evm_mine")

    def transactions_of(self, address: str) -> int:
        return int(rpc(self.url, "eth_getTransactionCount", address, "latest"), 16)
