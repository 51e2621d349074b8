"""Reads what the journal knows of devices: its tables, and the deltas not folded into them yet.

The deltas are read first. One that is folded in between is seen twice, which changes nothing; one
that is gone already is in the tables, which are read afterwards.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId
from corechain.service.database import asked
from corechain_relayer.journal.changes import Rows, changes_of, rows_of, states_after, windows_after
from corechain_relayer.journal.delta import Delta, unpack_delta
from corechain_relayer.journal.digests import Key, chunks_of, to_digests
from corechain_relayer.journal.rows import to_states, to_windows
from corechain_relayer.journal.sql import query
from corechain_relayer.sequences import SequenceWindow

if TYPE_CHECKING:
    from corechain.service.database import Conn, Database


@dataclass(slots=True)
class DeviceReader:
    """Exact at the time of the question, for any process. Raises StoreUnavailable.

    Deltas never change, so each is fetched once: what is held is what is not folded yet, which is
    bounded (`RELAYER_FOLD_BYTES` a lane).
    """

    source: "Database | Conn"
    _held: dict[int, Delta] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def sequences(self, devices: Iterable[DeviceId]) -> dict[DeviceId, SequenceWindow]:
        """Windows of those devices that have one."""
        wanted = list(devices)
        rows = await self._rows(wanted)
        stored = await asked(self.source.fetch(query("sequences"), wanted))
        return windows_after(to_windows(stored), rows)

    async def digests(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """What sequences in batches were used for, where that is known."""
        rows = await self._rows({device for device, _ in keys})
        stored = await asked(self.source.fetch(query("report_digests"), *chunks_of(keys)))
        recent = changes_of(rows).digests
        return {**to_digests(stored, keys), **{key: recent[key] for key in keys if key in recent}}

    async def known(
        self, devices: Iterable[DeviceId]
    ) -> tuple[dict[DeviceId, SequenceWindow], dict[StateKey, State]]:
        """Windows, and quality states after the last batch, of all metrics."""
        wanted = list(devices)
        rows = await self._rows(wanted)
        stored = await asked(self.source.fetch(query("device_rows"), wanted))
        return windows_after(to_windows(stored), rows), states_after(to_states(stored), rows)

    async def _rows(self, devices: Iterable[DeviceId]) -> Rows:
        return rows_of(await self._refresh(), devices)

    async def _refresh(self) -> list[Delta]:
        """What is not folded now. The answer is the caller's: another question may refresh while
        its own reads the tables."""
        async with self._lock:
            rows = await asked(self.source.fetch(query("unfolded_deltas"), list(self._held)))
            fresh = {r["batch_id"]: unpack_delta(r["delta"]) for r in rows if r["delta"]}
            known = self._held | fresh
            self._held = {row["batch_id"]: known[row["batch_id"]] for row in rows}
            return list(self._held.values())
