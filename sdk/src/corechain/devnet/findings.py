"""What the demo found out, and the faults of the data that it must have noticed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from corechain.protocol.errors import CoreChainError
from corechain.protocol.vocabulary import BY_CODE

if TYPE_CHECKING:
    from corechain.client import Client
    from corechain.devnet.cover import Settled
    from corechain.flows import StatisticsResult


class FaultMissed(CoreChainError):
    """A known fault of the data was not rejected with the right reason."""


@dataclass(slots=True)
class Findings:
    """Counts, sums (gas, base units) and times (seconds) of one demo."""

    reports: int = 0
    observations: int = 0
    refused: int = 0
    accepted: int = 0
    rejections: list[dict[str, Any]] = field(default_factory=list)
    batches: int = 0
    commit_gas: int = 0
    replay_s: float = 0.0
    lag_s: float = 0.0
    mean: "StatisticsResult | None" = None
    proofs: int = 0
    proofs_by_contract: int = 0
    queries: int = 0
    redeemed: dict[str, Any] = field(default_factory=dict)
    rewards: int = 0
    cover: "Settled | None" = None
    wall_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    def reasons(self) -> Counter[str]:
        return Counter(reason for row in self.rejections for reason in row["reasons"])


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A bad value that really is in the file (research: found by hand)."""

    station: str
    observed_at: datetime
    metric: str
    reason: str
    story: str


KNOWN_FAULTS = (
    KnownFault("EWR", datetime(2013, 2, 12, 8, tzinfo=UTC), "wind_speed", "range", "1048 mph wind"),
    KnownFault(
        "JFK", datetime(2013, 5, 9, 2, tzinfo=UTC), "air_temperature", "step", "57→13→57 °F spike"
    ),
    KnownFault(
        "JFK", datetime(2013, 5, 9, 2, tzinfo=UTC), "dew_point", "step", "49→12→54 °F dew point"
    ),
)


def check_faults(findings: Findings, client: "Client", devices: Mapping[str, bytes]) -> None:
    """Collects the rejections and looks for every known fault. Raises FaultMissed."""
    for batch in client.batches(limit=1000):
        findings.rejections += client.rejections(batch["batch_id"])
    for fault in KNOWN_FAULTS:
        row = _rejection(findings, fault, devices)
        if row is None or fault.reason not in row["reasons"]:
            raise FaultMissed(
                f"{fault.story} at {fault.station} was not rejected by {fault.reason}"
            )
        kind = BY_CODE[row["metric"]]
        value = f"{kind.from_wire(row['value']):g} {kind.unit}"
        findings.faults.append(f"{fault.station} {fault.story}: {value} rejected, {fault.reason}")


def _rejection(
    findings: Findings, fault: KnownFault, devices: Mapping[str, bytes]
) -> dict[str, Any] | None:
    wanted = ("0x" + devices[fault.station].hex(), int(fault.observed_at.timestamp()), fault.metric)
    for row in findings.rejections:
        if (row["device"], row["observed_at"], BY_CODE[row["metric"]].name) == wanted:
            return row
    return None
