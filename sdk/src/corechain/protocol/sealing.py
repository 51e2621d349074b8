"""Seals a window of columns: byte for byte what `corechain.protocol.batch.seal` makes, its oracle.

For services (extra `service`). No Python step an observation, and none a report but its hash.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import cast

import numpy as np
import numpy.typing as npt

from corechain.protocol.batch import (
    CONTEXT,
    LEAF,
    VERDICT,
    EmptyBatch,
    Header,
    Origin,
    pack_devices,
    pack_head,
)
from corechain.protocol.columns import (
    Bits,
    Octets,
    Places,
    ascending,
    bytes_as_text,
    ints,
    rows_of,
    take_columns,
    words,
)
from corechain.protocol.errors import ReplayedSequence, UnknownDevice
from corechain.protocol.frame import Columns
from corechain.protocol.hashing import Digest26, keccak
from corechain.protocol.judging import Items, Numbers, Pairs, inconsistent_of, judge_items
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.quality import RULES_HASH
from corechain.protocol.reader import COUNT
from corechain.protocol.reading import FAIL, READING_BYTES, DeviceId
from corechain.protocol.roots import hash_rows, hash_slices, merkle_root, statistics_root
from corechain.protocol.states import PriorStates, StateColumns, keys_of

LEAF_ROWS = np.dtype(
    [
        ("metric", ">u2"),
        ("cell", ">u8"),
        ("device", "u1", 20),
        ("high", "u1"),
        ("low", ">u4"),
        ("value", ">i4"),
        ("flag", "u1"),
    ]
)
_VERDICT = np.dtype([("flag", "u1"), ("reasons", ">u2")])
CONTEXT_ROWS = np.dtype(
    [
        ("key", "u1", 22),
        ("value", ">i4"),
        ("high", "u1"),
        ("low", ">u4"),
        ("since_high", "u1"),
        ("since_low", ">u4"),
    ]
)
_SIZES = (LEAF.size, VERDICT.size, CONTEXT.size)
assert (LEAF_ROWS.itemsize, _VERDICT.itemsize, CONTEXT_ROWS.itemsize) == _SIZES


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A sealed batch: header, file, and what a journal keeps of it. Observations are those of
    `reports`, in their order."""

    header: Header
    commitment: Digest26
    readings_root: Digest26
    data_file: bytes
    reports: Columns
    """Ordered by (device, sequence), as the file has them."""
    devices: bytes
    """Those that reported, ascending, 20 bytes each."""
    flags: npt.NDArray[np.uint8]
    """One an observation."""
    reasons: npt.NDArray[np.uint16]
    """Bits of `quality.Reason`, one an observation."""
    leaves: bytes
    """40 bytes each, ascending."""
    states: StateColumns
    """Quality state after the batch, of the pairs that occur in it, ordered by (device, metric)."""

    @property
    def failed(self) -> int:
        """How many observations are no leaf."""
        return len(self.flags) - self.header.reading_count


@dataclass(frozen=True, slots=True)
class _Window:
    """The reports in their order, and their observations in wide integers that do not wrap."""

    reports: Columns
    devices: Octets
    """Those that reported, ascending, one a row."""
    ranks: Places
    """The row of each observation's device."""
    owners: Places
    """The report of each observation."""
    metrics: Numbers
    times: Numbers
    values: Numbers

    @classmethod
    def of(cls, columns: Columns) -> "_Window":
        reports = _ordered(columns)
        rows = rows_of(reports.devices, 20)
        text = bytes_as_text(rows)
        begins = np.ones(len(rows), np.bool_)
        begins[1:] = text[1:] != text[:-1]
        owners = np.repeat(np.arange(len(rows)), np.diff(ints(reports.firsts)))
        ranks = (np.cumsum(begins) - 1)[owners]
        numbers = map(ints, (reports.metrics, reports.times, reports.values))
        return cls(reports, rows[begins], ranks, owners, *numbers)


def _ordered(columns: Columns) -> Columns:
    """By (device, sequence). Raises ReplayedSequence."""
    ids = rows_of(columns.devices, 20)
    order = ascending(ids)
    text = bytes_as_text(ids)[order]
    if (text[1:] == text[:-1]).any():
        order = _by_sequence(columns, ids)
    return take_columns(columns, order)


def _by_sequence(columns: Columns, ids: Octets) -> Places:
    """The order where some device has several reports."""
    sequences = words(columns.sequences).astype(">u8").view(np.uint8).reshape(-1, 8)
    keys = bytes_as_text(np.concatenate([ids, sequences], axis=1))
    order: Places = np.argsort(keys)
    ordered = keys[order]
    repeated = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(repeated):
        place = int(order[repeated[0]])
        raise ReplayedSequence(columns.device(place), columns.sequences[place])
    return order


def _identities(devices: Octets, known: Mapping[DeviceId, DeviceIdentity]) -> list[DeviceIdentity]:
    # Void, not text: numpy would cut zeros off the end of an id.
    ids: list[DeviceId] = devices.view("V20").ravel().tolist()
    identities = list(map(known.get, ids))
    if None in identities:
        raise UnknownDevice(ids[identities.index(None)])
    return cast(list[DeviceIdentity], identities)


_key_type = attrgetter("key_type")


def _pack_devices(devices: Octets, identities: list[DeviceIdentity]) -> bytes:
    if KeyType.P256 in set(map(_key_type, identities)):
        return pack_devices(identities)
    types = np.full((len(devices), 1), KeyType.SECP256K1, np.uint8)
    rows = np.concatenate([devices, types], axis=1)
    return bytes(COUNT.pack(len(devices)) + rows.tobytes())


@dataclass(frozen=True, slots=True)
class _Judgement:
    """The pairs of a window in their order, with the state that judging moves on."""

    order: Places
    """Observations by pair."""
    keys: Octets
    metrics: npt.NDArray[np.uint16]
    pairs: Pairs

    @classmethod
    def before(cls, window: _Window, states: PriorStates) -> "_Judgement":
        pair = window.ranks << 16 | window.metrics
        # Stable: within a pair by (sequence, position), as the reports are ordered.
        order = np.argsort(pair, kind="stable")
        _, firsts, counts = np.unique(pair[order], return_index=True, return_counts=True)
        leading = order[firsts]
        metrics = window.metrics[leading].astype(np.uint16)
        ranks = window.ranks[leading]
        value, at, run_start = states.before(window.devices, ranks, metrics)
        keys = keys_of(window.devices[ranks], metrics)
        return cls(order, keys, metrics, Pairs(firsts, counts, value, at, run_start))

    def states(self) -> StateColumns:
        """Of the pairs that have one now."""
        pairs, has = self.pairs, self.pairs.at >= 0
        devices = self.keys[has, :20].tobytes()
        return StateColumns(
            devices, self.metrics[has], pairs.value[has], pairs.at[has], pairs.run_start[has]
        )

    def context(self) -> bytes:
        """The states as the data file has them: before judging."""
        has = self.pairs.at >= 0
        at, since = self.pairs.at[has], self.pairs.run_start[has]
        rows = np.empty(len(at), CONTEXT_ROWS)
        rows["key"], rows["value"] = self.keys[has], self.pairs.value[has]
        rows["high"], rows["low"] = at >> 32, at & 0xFFFFFFFF
        rows["since_high"], rows["since_low"] = since >> 32, since & 0xFFFFFFFF
        return COUNT.pack(len(rows)) + rows.tobytes()

    def judge(self, window: _Window) -> tuple[Numbers, Numbers]:
        """(flags, reasons) of the observations in the window's order."""
        metrics, times, values = window.metrics, window.times, window.values
        odd = inconsistent_of(window.owners, metrics, words(window.reports.cells), times, values)
        order = self.order
        items = Items(metrics[order], times[order], values[order], odd[order])
        judged = np.empty((2, len(order)), np.int64)
        judged[:, order] = judge_items(items, self.pairs)
        return judged[0], judged[1]


def _leaves(window: _Window, good: Bits, flags: Numbers) -> Octets:
    times = window.times[good]
    rows = np.empty(len(times), LEAF_ROWS)
    rows["metric"], rows["cell"] = window.metrics[good], words(window.reports.cells)[good]
    rows["device"] = window.devices[window.ranks[good]]
    rows["high"], rows["low"] = times >> 32, times & 0xFFFFFFFF
    rows["value"], rows["flag"] = window.values[good], flags[good]
    return rows_of(np.sort(rows.view(f"S{READING_BYTES}")).tobytes(), READING_BYTES)


def _pack_verdicts(flags: Numbers, reasons: Numbers) -> bytes:
    rows = np.empty(len(flags), _VERDICT)
    rows["flag"], rows["reasons"] = flags, reasons
    return rows.tobytes()


def _header(
    origin: Origin, data_file: bytes, window: _Window, leaves: Octets, times: Numbers
) -> tuple[Header, Digest26]:
    """With the root of the readings."""
    hashes = hash_rows(leaves)
    header = Header(
        origin.batch_id,
        origin.previous,
        origin.ancestor,
        statistics_root(leaves, hashes),
        merkle_root(hash_slices(window.reports.packed, window.reports.starts)),
        keccak(data_file),
        RULES_HASH,
        len(leaves),
        len(window.reports),
        int(times.min()),
        int(times.max()),
    )
    return header, merkle_root(hashes)


def seal_columns(
    origin: Origin,
    columns: Columns,
    known: Mapping[DeviceId, DeviceIdentity],
    states: PriorStates,
) -> SealedBatch:
    """Judges, sorts and commits to the reports. Signatures are the caller's business. `states` may
    hold more pairs than the batch has and is not changed; `known` is asked once a device.

    Raises EmptyBatch when every observation failed, UnknownDevice for a report of a device not in
    `known`, ReplayedSequence for two reports with one (device, sequence).
    """
    window = _Window.of(columns)
    identities = _identities(window.devices, known)
    judgement = _Judgement.before(window, states)
    context = judgement.context()
    flags, reasons = judgement.judge(window)
    good = flags != FAIL
    if not good.any():
        raise EmptyBatch(f"none of {len(columns)} reports has an accepted observation")
    data_file = b"".join(
        (
            pack_head(origin),
            _pack_devices(window.devices, identities),
            context,
            COUNT.pack(len(columns)),
            window.reports.packed,
            _pack_verdicts(flags, reasons),
        )
    )
    leaves = _leaves(window, good, flags)
    header, readings_root = _header(origin, data_file, window, leaves, window.times[good])
    return SealedBatch(
        header,
        header.commitment(readings_root),
        readings_root,
        data_file,
        window.reports,
        window.devices.tobytes(),
        flags.astype(np.uint8),
        reasons.astype(np.uint16),
        leaves.tobytes(),
        judgement.states(),
    )
