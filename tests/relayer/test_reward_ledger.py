"""An epoch is computed from its own data: what a root on chain proves is not computed again.

given epochs of which each came out
  the next one is computed from the data files behind them alone, in threads
  a restart knows it, as far as that root proves it
  where a reorg has put another one in place of the last, all are computed again
given a batch that the node's logs do not tell of, though its lane counted on behind it
  nothing is proposed where the contract has it
  what a lane has skipped is missed by nobody
"""

import threading
from pathlib import Path
from typing import Any

import pytest

from corechain.protocol.batch import batch_id
from corechain.protocol.events import RootProposed
from corechain.protocol.hashing import Digest26
from corechain.protocol.reading import DeviceId, Reading
from corechain.protocol.rewards import DEFAULT_SCHEDULE, Owner
from corechain.service.errors import NodeRefused
from corechain_relayer.aggregator.position import Committed
from corechain_relayer.calldata import selector
from corechain_relayer.rewards import epochs
from corechain_relayer.rewards.epochs import Ledger, RootDiffers
from corechain_relayer.rewards.left_out import BatchLeftOut, LeftOut
from corechain_relayer.rewards.proven import NAME, Proven

DEVICE = DeviceId(b"\xd1" * 20)
POOL = 100


def committed(*blocks: int, lane: int = 1) -> dict[int, Committed]:
    """A batch in each of some blocks, numbered from 1 on."""
    numbered = enumerate(blocks, 1)
    return {batch_id(lane, n): Committed(Digest26(bytes([b]) * 26), b) for n, b in numbered}


def proposed(epoch: int, root: bytes, through: int) -> RootProposed:
    return RootProposed(int.from_bytes(root, "big") << 48 | epoch, through, POOL)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The blocks of the batches whose data files were read."""
    found: list[int] = []

    def leaves(folder: Path, commitment: bytes) -> list[bytes]:
        assert threading.current_thread() is not threading.main_thread()
        found.append(commitment[0])
        return [Reading(1, 1, DEVICE, 3_600 * commitment[0], 1).pack()]

    monkeypatch.setattr(epochs, "_leaves", leaves)
    return found


async def owners(through: int) -> dict[DeviceId, Owner]:
    return {DEVICE: Owner(b"\xee" * 20)}


async def test_what_a_root_on_chain_proves_is_not_computed_again(read: list[int]) -> None:
    how: Any = (Path(), owners, DEFAULT_SCHEDULE, Proven())
    batches, standing = committed(3, 5, 8, 12), list[RootProposed]()
    for number, through in ((1, 5), (2, 9), (3, 12)):
        found = await Ledger(batches, *how).propose(standing, through, POOL)
        standing.append(proposed(number, found.root, through))
    assert read == [3, 5, 3, 5, 8, 8, 12]
    assert await Ledger(batches, *how).root_of(standing[:2], standing[2]) == standing[2].root
    assert read[7:] == [12]
    standing[1] = proposed(2, standing[1].root, 8)
    assert await Ledger(batches, *how).root_of(standing[:2], standing[2]) == standing[2].root
    assert read[8:] == [3, 5, 8, 12]
    with pytest.raises(RootDiffers, match="root of epoch 2") as differs:
        await Ledger(committed(3, 5), *how).cumulative([standing[0], proposed(2, bytes(26), 9)])
    assert (differs.value.first, differs.value.last) == (6, 9)


async def test_what_is_proven_is_there_after_a_restart_and_nothing_else(
    read: list[int], tmp_path: Path
) -> None:
    """A year of data files is hours of work, and a veto has a day."""

    def ledger() -> Ledger:
        folder: Any = tmp_path
        return Ledger(committed(3, 5), folder, owners, DEFAULT_SCHEDULE, Proven.read(folder))

    first = await ledger().propose([], 3, POOL)
    standing = [proposed(1, first.root, 3)]
    await ledger().cumulative(standing)
    assert read == [3, 3]
    assert await ledger().cumulative(standing) == first.amounts
    assert read == [3, 3]
    whole = (tmp_path / NAME).read_text()
    for damaged in (whole[:-9], whole.replace('"100"', '"101"'), whole.replace("ee", "zz")):
        (tmp_path / NAME).write_text(damaged)
        assert await ledger().cumulative(standing) == first.amounts
    assert read == [3] * 5
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()  # it can be neither read nor kept
    assert await ledger().cumulative(standing) == first.amounts


@pytest.mark.parametrize("said", ["", "Grouped(uint48)", "UnknownBatch(uint48)"])
async def test_a_batch_that_a_lane_has_passed_over_is_asked_for(said: str) -> None:
    asked: list[bytes] = []

    class Contract:
        async def eth_call(self, to: bytes, data: bytes) -> bytes:
            asked.append(data[-6:])
            if said:
                revert = "0x" + selector(said).hex() + data[4:].hex()
                raise NodeRefused("eth_call", 3, "execution reverted", revert)
            return bytes(32)

    batches, contract = committed(3, 5, 8, 12, 14), Contract()
    left_out = LeftOut(contract, bytes(20))  # type: ignore[arg-type]
    await left_out.check(batches, 0, 20)
    del batches[batch_id(1, 3)]
    await left_out.check(batches, 12, 20)  # of an epoch that stands: its root says it
    await left_out.check(batches, 0, 5)
    assert asked == []
    if "Unknown" in said:
        await left_out.check(batches, 5, 20)
    else:
        with pytest.raises(BatchLeftOut, match="batch 3 of lane 1 is on chain"):
            await left_out.check(batches, 5, 20)
    assert asked == [batch_id(1, 3).to_bytes(6, "big")]
