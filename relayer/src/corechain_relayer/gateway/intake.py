"""What the gateway thinks of reports, without a socket: decode, look up, check, verify.

`FrameJudge` does it for a whole frame at once. `Judge` is the same, report by report: it says what
is wrong where something is, and the tests hold the two against each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from corechain.protocol.cells import is_cell, require_cell
from corechain.protocol.eip712 import Domain, report_digest
from corechain.protocol.errors import (
    FutureTimestamp,
    MalformedReport,
    ProtocolError,
    TimestampTooOld,
    UnknownMetric,
    UnsupportedMediaType,
    WrongChain,
)
from corechain.protocol.frame import Columns, FrameVerifier, columns_of
from corechain.protocol.json_packing import PackedReports, pack_json
from corechain.protocol.keys import verify
from corechain.protocol.reading import (
    MAX_OBSERVATIONS,
    OBSERVATION_BYTES,
    SIGNATURE_BYTES,
    SignedReport,
    unpack_observations,
)
from corechain.protocol.vocabulary import BY_CODE
from corechain_relayer.registry.view import RegistryView

JSON, PACKED = "application/json", "application/vnd.corechain.reports"

COUNT_AT = 28
"""Where in a packed report the number of its observations is: behind device and sequence."""

Fault = ProtocolError | None
"""What is wrong with a report; None where nothing is."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How far `observed_at` may lie from the gateway's clock, in seconds."""

    max_age_s: int
    max_future_s: int

    def bounds(self, now: float) -> tuple[int, int]:
        """The earliest and the latest time that is accepted."""
        return int(now) - self.max_age_s, int(now) + self.max_future_s

    def check(self, observed_at: int, now: float) -> None:
        """Raises TimestampTooOld or FutureTimestamp."""
        earliest, latest = self.bounds(now)
        if observed_at < earliest:
            raise TimestampTooOld(observed_at, earliest)
        if observed_at > latest:
            raise FutureTimestamp(observed_at, latest)


# ------------------------------------------------------------------ a request's body


@dataclass(frozen=True, slots=True)
class Intake:
    """A request of `count` items. `columns` are the reports to be judged, and `places` says where
    in the request each stands; `faults` are the errors of all other items, by their place, and
    `named` those of them that could be read."""

    columns: Columns
    places: Sequence[int]
    count: int
    faults: Mapping[int, ProtocolError] = field(default_factory=dict)
    named: Mapping[int, SignedReport] = field(default_factory=dict)


def intake_of(media_type: str, body: bytes, domain: Domain) -> Intake:
    """The reports of a request body; a bad item of a JSON list stands as its error.

    Raises UnsupportedMediaType, MalformedReport, ValueOutOfRange.
    """
    if media_type == JSON:
        return _of_json(pack_json(body), domain)
    if media_type != PACKED:
        raise UnsupportedMediaType(f"send {JSON} or {PACKED}")
    columns = columns_of(body)
    if not len(columns):
        raise MalformedReport("no report in the request")
    return Intake(columns, range(len(columns)), len(columns))


def is_one_report(body: bytes) -> bool:
    """Whether a packed body is exactly one report of a right length; nothing else is parsed."""
    observations = int.from_bytes(body[COUNT_AT : COUNT_AT + 2], "big")
    size = COUNT_AT + 2 + observations * OBSERVATION_BYTES + SIGNATURE_BYTES
    return 1 <= observations <= MAX_OBSERVATIONS and len(body) == size


def _of_json(reports: PackedReports, domain: Domain) -> Intake:
    columns, count = columns_of(reports.packed), len(reports)
    elsewhere = {
        place: fault
        for place, declared in reports.declared.items()
        if (fault := chain_fault(*declared, domain)) is not None
    }
    if not elsewhere:
        return Intake(columns, reports.places, count, reports.errors)
    indexes = {place: index for index, place in enumerate(reports.places)}
    ours = [place for place in reports.places if place not in elsewhere]
    named = {place: columns.report(indexes[place]) for place in elsewhere}
    part = columns.select([indexes[place] for place in ours])
    return Intake(part, ours, count, {**reports.errors, **elsewhere}, named)


def chain_fault(chain_id: int | None, registry: bytes | None, domain: Domain) -> WrongChain | None:
    """What is wrong with the chain that a report says it was made for (None: it does not say)."""
    if chain_id not in (None, domain.chain_id):
        return WrongChain(f"made for chain {chain_id}, this is {domain.chain_id}")
    if registry not in (None, domain.contract):
        return WrongChain("made for another registry contract")
    return None


# ------------------------------------------------------------------ judging


@dataclass(frozen=True, slots=True)
class Judge:
    """Checks one report against the registry, the clock and its device's signature."""

    domain: Domain
    limits: TimeLimits

    def fault(self, signed: SignedReport, view: RegistryView, now: float) -> Fault:
        """The first thing that is wrong. The cheap checks come first: the signature costs more than
        all of them together."""
        fault = self.cheap_fault(signed, view, now)
        if fault is not None:
            return fault
        identity = view.active(signed.report.device)
        try:
            verify(identity, report_digest(self.domain, signed.report), signed.signature)
        except ProtocolError as error:
            return error
        return None

    def cheap_fault(self, signed: SignedReport, view: RegistryView, now: float) -> Fault:
        """The same without the signature."""
        try:
            view.active(signed.report.device)
            for metric, cell, observed_at, _ in unpack_observations(signed.report.packed):
                if metric not in BY_CODE:
                    raise UnknownMetric(metric)
                require_cell(cell)
                self.limits.check(observed_at, now)
        except ProtocolError as error:
            return error
        return None


@dataclass(frozen=True, slots=True)
class FrameJudge:
    """Checks the reports of a frame together: what `Judge` says of each, in a few steps a frame
    where nothing is wrong but signatures."""

    judge: Judge
    verifier: FrameVerifier

    def faults(self, columns: Columns, view: RegistryView, now: float) -> list[Fault]:
        """One a report, in order."""
        try:
            senders = list(map(view.senders.__getitem__, columns.device_ids()))
        except KeyError:  # somebody may not send: who, and why, is looked up one by one
            return self._one_by_one(columns, view, now)
        if self._are_plain(columns, now):
            return self.verifier.verify_all(columns, senders)
        return self._one_by_one(columns, view, now)

    def _are_plain(self, columns: Columns, now: float) -> bool:
        """Whether all metrics, cells and times are right. Sets, because stations stay where they
        are and measure the same few things."""
        if not len(columns.times):
            return True
        earliest, latest = self.judge.limits.bounds(now)
        return (
            BY_CODE.keys() >= set(columns.metrics)
            and earliest <= min(columns.times)
            and max(columns.times) <= latest
            and all(map(is_cell, set(columns.cells)))
        )

    def _one_by_one(self, columns: Columns, view: RegistryView, now: float) -> list[Fault]:
        faults = [self.judge.cheap_fault(signed, view, now) for signed in columns.reports()]
        rest = [index for index, fault in enumerate(faults) if fault is None]
        part = columns.select(rest)
        verdicts = self.verifier.verify_all(part, [view.senders[d] for d in part.device_ids()])
        for index, verdict in zip(rest, verdicts, strict=True):
            faults[index] = verdict
        return faults
