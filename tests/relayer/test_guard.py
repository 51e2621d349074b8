"""A demand for data of our lane is answered in time, whatever happens to us meanwhile.

given a lane with a committed batch, and a guard with a key of its own
  when a piece of the batch is demanded, of any of the five kinds
    it is answered, and the fee is ours
"""

from pathlib import Path

import pytest

from corechain.protocol.evidence import Demand
from relayer.conftest import Start
from relayer.demands import (
    GUARD,
    GUARDED,
    Challenger,
    committed,
    in_fleet,
    position_of_device,
)
from relayer.support import Chain, RelayerProcess, Sensor, p256, secp

LANE = ("gateway", "aggregator", "submitter")


@pytest.fixture
def challenger(chain: Chain, tmp_path: Path) -> Challenger:
    return Challenger(chain, tmp_path / "data")


@pytest.fixture
def lane(start: Start, chain: Chain, sensor: Sensor) -> RelayerProcess:
    """A lane that has committed one batch, and has no guard."""
    relayer = start(*LANE)
    committed(relayer, chain, [sensor])
    return relayer


def by_guard(receipt: dict[str, str]) -> bool:
    return receipt["from"] == GUARD.lower()


def test_every_kind_of_demand_is_answered_and_earns_its_fee(
    start: Start, chain: Chain, challenger: Challenger, sensor: Sensor, secure_sensor: Sensor
) -> None:
    relayer = start(*LANE, "guard", **GUARDED)
    in_fleets = [in_fleet(chain, secp(7)), in_fleet(chain, p256(8))]
    committed(relayer, chain, [sensor, secure_sensor, *in_fleets])
    batch = challenger.batch()
    behind = 2**32 - 1
    demands = {
        "report": challenger.at(Demand.REPORT, batch, 1),
        "reading": challenger.at(Demand.READING, batch, 5),
        "statistics": challenger.at(Demand.STATISTICS, batch, 6),
        "source": challenger.source(batch, 3),
        "report behind": challenger.at(Demand.REPORT, batch, len(batch.reports)),
        "reading behind": challenger.at(Demand.READING, batch, behind),
        "statistics behind": challenger.at(Demand.STATISTICS, batch, len(batch.leaves)),
        "key": challenger.registration(batch, position_of_device(batch, secure_sensor)),
        "fleet": challenger.registration(batch, position_of_device(batch, in_fleets[0])),
        "key in fleet": challenger.registration(batch, position_of_device(batch, in_fleets[1])),
    }
    receipts = dict(zip(demands, challenger.awaited(*demands.values()), strict=True))
    assert all(by_guard(receipt) for receipt in receipts.values())
    print({name: int(receipt["gasUsed"], 16) for name, receipt in receipts.items()})
