"""What many deltas say together, by device, as it is written to the tables. No object a report."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import Places, bytes_as_text, rows_of
from corechain.protocol.reading import DeviceId
from corechain_relayer.journal.delta import Delta, ids_in
from corechain_relayer.journal.digests import CHUNK
from corechain_relayer.journal.rows import STATE_ROWS
from corechain_relayer.sequences import DIGEST_BYTES, JOURNAL_WIDTH, SequenceWindow

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Union:
    """n devices. Device i has the reports firsts[i] to firsts[i + 1], and the states
    state_firsts[i] to state_firsts[i + 1]: one a metric, of the latest observation."""

    devices: list[DeviceId]
    """Ascending."""
    firsts: Places
    sequences: Words
    digests: Words
    """8 bytes each, as they come."""
    state_firsts: Places
    metrics: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    run_starts: npt.NDArray[np.int64]

    def windows(
        self, first: int, last: int, stored: Mapping[DeviceId, SequenceWindow]
    ) -> dict[DeviceId, SequenceWindow]:
        """The stored windows of the devices first to last, without the last, moved on."""
        windows = {}
        for index in range(first, last):
            device = self.devices[index]
            sequences = self.sequences[self.firsts[index] : self.firsts[index + 1]].tolist()
            before = stored.get(device, SequenceWindow())
            windows[device] = before.with_all(sequences, JOURNAL_WIDTH)
        return windows

    def digest_rows(self, first: int, last: int) -> tuple[list[DeviceId], list[int], list[bytes]]:
        """(device, chunk, digests) of the devices first to last, without the last."""
        start, end = self.firsts[first], self.firsts[last]
        sequences = self.sequences[start:end]
        counts = np.diff(self.firsts[first : last + 1])
        owners, chunks = np.repeat(np.arange(first, last), counts), sequences // np.uint64(CHUNK)
        order = np.lexsort((chunks, owners))
        leads = np.ones(len(order), np.bool_)
        leads[1:] = (np.diff(owners[order]) != 0) | (np.diff(chunks[order]) != 0)
        rows = np.zeros((int(leads.sum()), CHUNK), np.uint64)
        places = sequences[order] % np.uint64(CHUNK)
        rows[np.cumsum(leads) - 1, places] = self.digests[start:end][order]
        leading = order[leads]
        devices = [self.devices[owner] for owner in owners[leading].tolist()]
        return devices, chunks[leading].tolist(), [row.tobytes() for row in rows]

    def packed_states(self, first: int, last: int, stored: Mapping[DeviceId, bytes]) -> list[bytes]:
        """The states of the devices first to last, without the last, united with those stored,
        packed as they are stored: one value a device."""
        held = [stored.get(device, b"") for device in self.devices[first:last]]
        sizes = np.fromiter(map(len, held), np.intp, len(held)) // STATE_ROWS.itemsize
        counts, numbers = np.diff(self.state_firsts[first : last + 1]), np.arange(last - first)
        # What is stored comes last: of two states of one time it counts. Joined as bytes, because
        # numpy would join the rows in the machine's byte order.
        rows = np.frombuffer(b"".join([self._state_rows(first, last), *held]), STATE_ROWS)
        owners = np.concatenate([np.repeat(numbers, counts), np.repeat(numbers, sizes)])
        kept = latest(owners, rows["metric"], rows["at"])
        packed = rows[kept].tobytes()
        bounds = (_firsts(owners[kept], last - first) * STATE_ROWS.itemsize).tolist()
        return [packed[start:end] for start, end in pairwise(bounds)]

    def _state_rows(self, first: int, last: int) -> bytes:
        chosen = slice(self.state_firsts[first], self.state_firsts[last])
        rows = np.empty(chosen.stop - chosen.start, STATE_ROWS)
        rows["metric"], rows["value"] = self.metrics[chosen], self.values[chosen]
        rows["at"], rows["run_start"] = self.times[chosen], self.run_starts[chosen]
        return rows.tobytes()


def latest(owners: Places, metrics: "npt.NDArray[Any]", times: "npt.NDArray[Any]") -> Places:
    """The places of the latest state of each (owner, metric), ordered by them; of two states of one
    time the one further behind."""
    order = np.lexsort((times, metrics, owners))
    owner, metric = owners[order], metrics[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (owner[1:] != owner[:-1]) | (metric[1:] != metric[:-1])
    places: Places = order[last]
    return places


def united(deltas: Sequence[Delta]) -> Union:
    """In whatever order they come."""
    ids = b"".join(delta.ids for delta in deltas)
    found, owners = np.unique(bytes_as_text(rows_of(ids, 20)), return_inverse=True)
    devices = rows_of(ids, 20)[_first_of_each(owners, len(found))].tobytes()
    reports = np.repeat(owners, _counts([delta.firsts for delta in deltas]))
    order = np.argsort(reports, kind="stable")
    sequences = _joined([delta.sequences for delta in deltas], np.uint64)[order]
    digests = np.frombuffer(b"".join(delta.digests for delta in deltas), f"V{DIGEST_BYTES}")
    return Union(
        ids_in(devices),
        _firsts(reports, len(found)),
        sequences,
        digests[order].view(np.uint64),
        *_states(deltas, owners, len(found)),
    )


def _first_of_each(owners: Places, count: int) -> Places:
    firsts = np.zeros(count, np.intp)
    firsts[owners[::-1]] = np.arange(len(owners))[::-1]
    return firsts


def _counts(offsets: "Sequence[array[int]]") -> Places:
    return np.concatenate([np.diff(np.frombuffer(o, np.uint32).astype(np.intp)) for o in offsets])


def _joined(columns: "Sequence[array[int]]", kind: type) -> "npt.NDArray[Any]":
    return np.concatenate([np.frombuffer(c, c.typecode).astype(kind) for c in columns])


def _firsts(owners: Places, count: int) -> Places:
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count))])


def _states(deltas: Sequence[Delta], owners: Places, count: int) -> "tuple[Any, ...]":
    of_states = np.repeat(owners, _counts([delta.state_firsts for delta in deltas]))
    names = ("metrics", "values", "times", "run_starts")
    columns = [_joined([getattr(d, name) for d in deltas], np.int64) for name in names]
    metrics, _, times, _ = columns
    kept = latest(of_states, metrics, times)
    return (_firsts(of_states[kept], count), *(column[kept] for column in columns))
