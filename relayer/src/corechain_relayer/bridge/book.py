"""What of an upload is new. Pure: what was read before comes in, what to remember goes out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from corechain.protocol.vocabulary import I32_MAX
from corechain_relayer.bridge.formats.upload import OUT_OF_RANGE, Counter, Measurement, Row, Upload

DUPLICATE, OUT_OF_ORDER = "Duplicate", "OutOfOrder"
FIRST_COUNT, COUNTER_FELL = "FirstCount", "CounterFell"
GLITCH_S = 3_600
"""A counter that falls by less than half within an hour was read wrong, not set back: what is set
back begins near zero."""


@dataclass(frozen=True, slots=True)
class Total:
    """A running total at a time, in scaled units."""

    at: int
    total: int


@dataclass(frozen=True, slots=True)
class Known:
    """What was read from a station before: the newest time of each metric, its counters."""

    newest: Mapping[int, int] = field(default_factory=dict)
    counters: Mapping[str, Total] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """`observations` to send, in order; `known` afterwards; `skipped` with reasons by field.
    `rows`: the entries of the upload that are observations now, None in the place of the others.
    `device`: whose they are."""

    observations: tuple[Measurement, ...]
    known: Known
    skipped: Mapping[str, str]
    rows: tuple[Row, ...] = ()
    device: bytes = b""


def take(upload: Upload, known: Known) -> Taken:
    """The network judges observations of a device and metric in order of time, and fails what is
    not after the one before: such a one is not sent."""
    skipped = dict(upload.skipped)
    fallen = _rain(upload.counters, known.counters, skipped)
    newest, kept = dict(known.newest), []
    for item in sorted([*upload.measurements, *fallen]):
        before = newest.get(item.metric)
        if before is not None and item.at <= before:
            skipped[f"metric {item.metric}"] = DUPLICATE if item.at == before else OUT_OF_ORDER
            continue
        newest[item.metric] = item.at
        kept.append(item)
    counters = _counted(upload.counters, known.counters)
    # What was there before as well: an upload that comes twice has the same answer.
    there = {(item.metric, item.at) for item in kept} | set(known.newest.items())
    rows = tuple(row if row in there else None for row in upload.rows)
    return Taken(tuple(kept), Known(newest, counters), skipped, rows)


def _counted(counters: Iterable[Counter], before: Mapping[str, Total]) -> Mapping[str, Total]:
    """The totals to remember. A late upload changes none; one without any keeps them all. Else what
    is not named any more is forgotten: its difference would count what another has counted."""
    new = {item.name: Total(item.at, item.total) for item in counters}
    latest = max((total.at for total in before.values()), default=0)
    return before if not new or any(total.at < latest for total in new.values()) else new


def _rain(
    counters: Iterable[Counter], before: Mapping[str, Total], skipped: dict[str, str]
) -> list[Measurement]:
    """What fell since the last upload, by the best counter that was there then."""
    for item in counters:
        old = before.get(item.name)
        if old is None:
            skipped.setdefault(item.name, FIRST_COUNT)
            continue
        reason, amount = _fallen(item, old)
        if reason:
            skipped[item.name] = reason
            return []
        return [Measurement(item.metric, item.at, amount)]
    return []


def _fallen(item: Counter, old: Total) -> tuple[str, int]:
    if item.at <= old.at:
        return (DUPLICATE if item.at == old.at else OUT_OF_ORDER), 0
    if item.total >= old.total:
        amount = item.total - old.total
        return (OUT_OF_RANGE, 0) if amount > I32_MAX else ("", amount)
    if item.total * 2 > old.total and item.at - old.at < GLITCH_S:
        return COUNTER_FELL, 0
    # Set back in between: since then this much has fallen, before that nobody knows.
    return "", item.total
