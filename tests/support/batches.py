"""Sealed batches, and what an honest query API answers of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from corechain.protocol.batch import Batch, Origin, seal
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import UnknownBatch
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.merkle import depth_of
from corechain.protocol.reading import Observation, Reading, Report, SignedReport
from corechain.steps import Request

CELL, HOUR_S, DAY_S = 0x872A1072BFFFFFF, 3600, 86_400
START = 1_359_676_800
KEYS = tuple(Secp256k1Key(bytes(31) + bytes([n])) for n in (7, 8, 9))
DOMAIN = registry_domain(31337, bytes(20))


def hexed(value: bytes) -> str:
    return "0x" + value.hex()


def day_of_readings(number: int, previous: bytes = ZERO26) -> Batch:
    """One day of hourly temperature and pressure of three devices, as batch `number`."""
    first = START + (number - 1) * DAY_S
    reports = []
    for index, key in enumerate(KEYS):
        items = []
        for hour in range(24):
            at = first + HOUR_S * hour
            items.append(Observation(1, CELL, at, 100 * index + 10 * number + hour))
            items.append(Observation(4, CELL, at, 101_000 + hour))
        report = Report.of(key.identity.device, number, items)
        reports.append(SignedReport(report, key.sign(report_digest(DOMAIN, report))))
    origin = Origin(number, Digest26(previous), ZERO26, 31337, bytes(20))
    return seal(origin, reports, {key.identity.device: key.identity for key in KEYS}, {})


def days_of_readings(count: int) -> list[Batch]:
    batches: list[Batch] = []
    for number in range(1, count + 1):
        batches.append(day_of_readings(number, batches[-1].commitment if batches else ZERO26))
    return batches


def commitments_of(batches: Iterable[Batch]) -> Any:
    """The chain that holds them; `.asked` is what was looked up, one entry a question."""
    words = {batch.header.batch_id: batch.commitment for batch in batches}

    def ask(wanted: Mapping[int, int | None]) -> dict[int, bytes]:
        asked.append(set(wanted))
        unknown = next((batch for batch in wanted if batch not in words), None)
        if unknown is not None:
            raise UnknownBatch(unknown)
        return {batch: words[batch] for batch in wanted}

    asked: list[set[int]] = []
    ask.asked = asked  # type: ignore[attr-defined]
    return ask


Row = tuple[int, int, Reading]


def row_json(row: Row) -> dict[str, Any]:
    batch, position, reading = row
    return {
        "batch_id": batch,
        "position": position,
        "metric": reading.metric,
        "cell": f"{reading.cell:015x}",
        "device": hexed(reading.device),
        "observed_at": reading.observed_at,
        "value": reading.value,
        "flag": reading.flag,
    }


class HonestApi:
    """Answers /v1/readings from sealed batches as the real API does; counts the requests."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = {batch.header.batch_id: batch for batch in batches}
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> dict[str, Any]:
        self.requests.append(request)
        rows, params = self._rows(request.params), request.params
        first, limit = int(params.get("cursor", 0)), int(params["limit"])
        shown = rows[first : first + limit]
        more = str(first + limit) if len(rows) > first + limit else None
        answer: dict[str, Any] = {"items": [row_json(row) for row in shown], "next_cursor": more}
        return answer | ({"proofs": self._proofs(shown)} if "proofs" in params else {})

    def _rows(self, params: Mapping[str, Any]) -> list[Row]:
        rows = [
            (number, position, Reading.unpack(leaf))
            for number, batch in self.batches.items()
            for position, leaf in enumerate(batch.leaves)
        ]
        names = {1: "air_temperature", 4: "pressure"}
        kept = [
            row
            for row in rows
            if hexed(row[2].device) == params["device"]
            and params.get("metric") in (None, names[row[2].metric])
            and params.get("from", 0) <= row[2].observed_at <= params.get("to", 2**40)
        ]
        return sorted(kept, key=lambda row: (row[2].metric, row[2].observed_at, *row[:2]))

    def _proofs(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        proofs = []
        for number in dict.fromkeys(row[0] for row in rows):
            batch = self.batches[number]
            positions = sorted(row[1] for row in rows if row[0] == number)
            proofs.append(
                {
                    "batch_id": number,
                    "block": number,
                    "rest_hash": hexed(batch.header.rest_hash),
                    "depth": depth_of(len(batch.leaves)),
                    "nodes": hexed(b"".join(batch.readings.multiproof(positions))),
                }
            )
        return proofs
