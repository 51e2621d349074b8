"""Rebuilds a batch from its public data file and holds it against the chain."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.http import ProcessClients, client, exchange, shown_url
from corechain.protocol.batch import (
    Batch,
    Origin,
    batch_id,
    lane_of,
    number_of,
    open_data_file,
)
from corechain.protocol.errors import (
    InvalidProof,
    MalformedDataFile,
    ProtocolError,
    UnknownDevice,
    UnknownMetric,
    WrongChain,
)
from corechain.protocol.hashing import Digest26
from corechain.protocol.reading import FAIL, SUSPECT, unpack_observations
from corechain.protocol.vocabulary import Metric, metric
from corechain.replies import UNANSWERED, refusal_of
from corechain.steps import ApiUnavailable
from corechain.times import moment

if TYPE_CHECKING:
    from corechain.chain import Chain

TIMEOUT_S = 60.0
MAX_FILE_BYTES = 512 << 20
MAX_LANE, MAX_NUMBER = 0xFFFF, 0xFFFFFFFF
MOST_DIGITS = 40
"""Zeros in front are fine."""


class InvalidBatchId(ProtocolError):
    """Neither a number of 48 bits nor lane:number."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r:.40} is not a batch id: give its number, or lane:number")
        self.text = text


def parse_batch_id(text: str) -> int:
    """`4294967297` and `1:1` are the same batch. Raises InvalidBatchId."""
    lane, colon, number = text.rpartition(":")
    digits = number.isdecimal() and (not colon or lane.isdecimal())
    # Longer ones are no number of 48 bits, and int() takes 4,300 digits at most.
    if not (digits and text.isascii() and max(len(lane), len(number)) <= MOST_DIGITS):
        raise InvalidBatchId(text)
    found = batch_id(int(lane), int(number)) if colon else int(number)
    if lane_of(found) > MAX_LANE or (colon and int(number) > MAX_NUMBER):
        raise InvalidBatchId(text)
    return found


@dataclass(slots=True)
class Totals:
    """What a batch holds of one metric; values in wire units, of accepted and suspect readings."""

    code: int
    accepted: int = 0
    suspect: int = 0
    failed: int = 0
    values: list[int] = field(default_factory=list, repr=False)

    def add(self, flag: int, value: int) -> None:
        if flag == FAIL:
            self.failed += 1
            return
        self.values.append(value)
        if flag == SUSPECT:
            self.suspect += 1
        else:
            self.accepted += 1

    def cells(self) -> tuple[str, ...]:
        known = _metric_or_none(self.code)
        names = (known.name, known.unit) if known else (str(self.code), "–")
        counts = str(self.accepted), str(self.suspect), str(self.failed)
        return (*names, *counts, *self._values_in(known))

    def _values_in(self, known: Metric | None) -> tuple[str, ...]:
        if known is None or not self.values:
            return "–", "–", "–"
        mean = sum(self.values) / len(self.values) / known.scale
        low, high = known.from_wire(min(self.values)), known.from_wire(max(self.values))
        return f"{mean:.2f}", f"{low:g}", f"{high:g}"


def _metric_or_none(code: int) -> Metric | None:
    try:
        return metric(code)
    except UnknownMetric:
        # A device may send any code; the batch keeps it as failed.
        return None


@dataclass(frozen=True, slots=True)
class Audit:
    """A batch that is on the chain as its data file says."""

    batch: Batch
    commitment: Digest26

    @property
    def name(self) -> str:
        found = self.batch.header.batch_id
        return f"{found} (lane {lane_of(found)}, number {number_of(found)})"

    def facts(self) -> Iterator[tuple[str, str]]:
        header = self.batch.header
        yield "commitment", "0x" + self.commitment.hex()
        yield "readings root", "0x" + self.batch.readings.root.hex()
        yield "statistics root", "0x" + header.statistics_root.hex()
        yield "data hash", "0x" + header.data_hash.hex()
        yield "previous", "0x" + header.previous.hex()
        ends = header.window_start, header.window_end
        yield "window", " … ".join(moment(end, "%Y-%m-%d %H:%M:%SZ") for end in ends)
        yield "reports", str(header.report_count)
        yield "readings", str(header.reading_count)
        yield "rejected", str(sum(1 for _ in self.batch.rejected()))
        yield "devices", str(len(self.batch.identities))

    def totals(self) -> list[Totals]:
        """Per metric, by code."""
        found: dict[int, Totals] = {}
        for signed, verdicts in zip(self.batch.reports, self.batch.verdicts, strict=True):
            rows = zip(unpack_observations(signed.report.packed), verdicts, strict=True)
            for (code, _, _, value), verdict in rows:
                found.setdefault(code, Totals(code)).add(verdict.flag, value)
        return [found[code] for code in sorted(found)]


def audit_batch(chain: "Chain", gateway_url: str, wanted: int) -> Audit:
    """Fetches, rebuilds and compares; nothing of the gateway's answer is believed.

    Raises UnknownBatch (not on the chain, or out of its ring), ApiUnavailable, Refused,
    MalformedDataFile, InvalidSignature, HighS, UnknownDevice, InvalidProof, WrongChain.
    """
    commitment = Digest26(chain.commitment_of(wanted))
    batch, origin = open_data_file(fetch_data_file(gateway_url, commitment))
    if batch.commitment != commitment:
        raise InvalidProof(
            f"the data file makes 0x{batch.commitment.hex()}, the chain has 0x{commitment.hex()}"
        )
    check_origin(chain.deployment, origin, wanted)
    check_devices(chain, batch)
    return Audit(batch, commitment)


def check_origin(deployment: Deployment, origin: Origin, wanted: int) -> None:
    """It is the batch of that id of this deployment. Raises MalformedDataFile, WrongChain."""
    if origin.batch_id != wanted:
        raise MalformedDataFile(f"it is batch {origin.batch_id}, committed as {wanted}")
    home = origin.chain_id, origin.registry
    if home != (deployment.chain_id, deployment.address("DeviceRegistry")):
        raise WrongChain(f"batch {wanted} is of chain {origin.chain_id} or of another registry")


def check_devices(chain: "Chain", batch: Batch) -> None:
    """Every device is registered with the key type of the file. Raises UnknownDevice."""
    for device, identity in batch.identities.items():
        # A revoked one may have signed before; an unregistered one never could.
        _, key_type = chain.owner_and_key_type(device)
        if key_type != identity.key_type:
            raise UnknownDevice(device)


def fetch_data_file(gateway_url: str, commitment: Digest26) -> bytes:
    """The bytes a gateway keeps under a commitment, at most MAX_FILE_BYTES.

    Raises ApiUnavailable, or the gateway's refusal as a typed error.
    """
    import httpx

    url = f"{gateway_url.rstrip('/')}/v1/data/0x{commitment.hex()}"
    clients = ProcessClients(partial(client, url))
    try:
        response = exchange(clients, "GET", url, TIMEOUT_S, most=MAX_FILE_BYTES)
    except (httpx.HTTPError, httpx.InvalidURL, *UNANSWERED) as error:
        place = shown_url(gateway_url)
        raise ApiUnavailable(f"no data file from the gateway at {place}: {error!r}") from error
    finally:
        clients.close()
    if not response.is_success:
        raise refusal_of(response, response.content)
    return response.content
