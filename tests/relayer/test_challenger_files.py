"""Data files that the challenger keeps: what is wrong with its own disk hides no fraud.

given a disk that takes no file
  a file of a source is examined all the same
given a kept file that is damaged
  a reward root that rests on it is recomputed from a source's, and known
given a damaged file that no source has
  the root cannot be known, and is not vetoed
"""

from pathlib import Path
from typing import Any, cast

import pytest

from corechain.deployment import Deployment
from corechain.protocol.batch import Batch, Origin, seal
from corechain.protocol.eip712 import Domain
from corechain.protocol.events import RootProposed
from corechain.protocol.hashing import ZERO26
from corechain.protocol.reading import DeviceId
from corechain.protocol.rewards import Owner, RewardTree
from corechain.service.files.fetch import FileSources
from corechain_relayer.aggregator.position import Committed
from corechain_relayer.challenger.alerts import ChallengerAlerts
from corechain_relayer.challenger.opening import Shelf
from corechain_relayer.challenger.roots import RootWatch
from corechain_relayer.metrics import Metrics
from relayer.support import Sensor, secp

OWNER = Owner(b"\5" * 20)
REGISTRY = bytes([5]) * 20


def sealed() -> Batch:
    sensor = Sensor(secp(1), Domain("CoreChain", "1", 31_337, REGISTRY))
    identity = sensor.key.identity
    origin = Origin(1, ZERO26, ZERO26, 31_337, REGISTRY)
    return seal(origin, [sensor.report(2)], {identity.device: identity}, {})


def sources(folder: Path, batch: Batch | None) -> FileSources:
    folder.mkdir()
    if batch is not None:
        (folder / batch.commitment.hex()).write_bytes(batch.data_file)
    return FileSources([f"file://{folder}/{{commitment}}"], 1.0, 1 << 20)


async def test_a_file_that_cannot_be_kept_is_examined_all_the_same(tmp_path: Path) -> None:
    batch = sealed()
    offered = sources(tmp_path / "offered", batch)
    shelf = Shelf(offered, tmp_path / "not a folder")
    found = await shelf.get(1, batch.commitment)
    assert found is not None
    assert found.fits
    await offered.close()


class History:
    async def owners(self, through: int) -> dict[DeviceId, Owner]:
        return {secp(1).identity.device: OWNER}


@pytest.mark.parametrize("is_offered", [True, False])
async def test_a_root_is_recomputed_though_a_kept_file_is_damaged(
    tmp_path: Path, is_offered: bool
) -> None:
    nothing: Any = None
    batch, folder = sealed(), tmp_path / "kept"
    folder.mkdir()
    kept = folder / f"{batch.commitment.hex()}.ccdf"
    kept.write_bytes(batch.data_file[:-1])
    offered = sources(tmp_path / "offered", batch if is_offered else None)
    watch, history = RootWatch(*[nothing] * 10), cast(Any, History())
    watch.deployment, watch.sources, watch.folder = Deployment(31_337, {}), offered, folder
    watch.alerts = ChallengerAlerts(Metrics())
    right = RewardTree({OWNER: 10}).root
    proposed = RootProposed(int.from_bytes(right, "big") << 48 | 1, 9, 10)
    committed = {1: Committed(batch.commitment, 5)}
    found = await watch._root_of([], proposed, committed, history)
    assert found == (right if is_offered else None)
    assert bool(watch.alerts.sentences()) is not is_offered
    if is_offered:
        assert kept.read_bytes() == batch.data_file
    await offered.close()
