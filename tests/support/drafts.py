"""Batches as nobody's relayer would seal them: any leaves, any reports, any header."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from corechain.protocol.batch import Header
from corechain.protocol.eip712 import Domain, report_digest
from corechain.protocol.evidence import Dossier
from corechain.protocol.hashing import ZERO26, keccak
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.reading import Observation, Reading, Report, SignedReport
from corechain.protocol.statistics import StatisticsTree

CELL, HOUR_S = 0x872A1072FFFFFFF, 3600
Key = Secp256k1Key | P256Key


def signed_report(
    domain: Domain, key: Key, sequence: int, observations: Sequence[Observation]
) -> bytes:
    report = Report.of(key.identity.device, sequence, observations)
    return SignedReport(report, key.sign(report_digest(domain, report))).pack()


def hourly(start: int, count: int, metric: int = 1, value: int = 1000) -> list[Observation]:
    return [Observation(metric, CELL, start + HOUR_S * h, value + h % 7) for h in range(count)]


def leaves_of(key: Key, observations: Sequence[Observation]) -> list[bytes]:
    device = key.identity.device
    return [
        Reading(one.metric, one.cell, device, one.observed_at, one.value).pack()
        for one in observations
    ]


@dataclass(frozen=True)
class Forger:
    """Makes dossiers whose headers say what one likes; by default what is true."""

    statistics: StatisticsTree | None = None

    def draft(
        self, batch_id: int, leaves: Sequence[bytes], reports: Sequence[bytes], **header: object
    ) -> Dossier:
        statistics = self.statistics or StatisticsTree(leaves)
        times = [int.from_bytes(leaf[30:35], "big") for leaf in leaves]
        honest = Header(
            batch_id, ZERO26, ZERO26, statistics.root, MerkleTree.over(reports).root,
            keccak(b"data"), keccak(b"rules"), len(leaves), len(reports), min(times), max(times),
        )  # fmt: skip
        return Dossier(replace(honest, **header), leaves, reports, statistics)


def draft(
    batch_id: int, leaves: Sequence[bytes], reports: Sequence[bytes], **header: object
) -> Dossier:
    return Forger().draft(batch_id, leaves, reports, **header)
