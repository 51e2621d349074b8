"""Rows of a whole range by corechain-native: no Python step a log, and the bytes of COPY at once.

For the kinds of events that are many, whose fields have fixed places. Other kinds, logs that have
not the shape of theirs, and a table to which both kinds of rows belong are projected as everywhere
else (`projections`), which is the reference: every table holds the same rows either way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import Any, overload

from corechain.protocol import events as e
from corechain.protocol import native
from corechain.protocol.logs import WORD, Layout, layouts
from corechain.service.log_table import LogTable
from corechain.service.words import Log
from corechain_indexer.projections import COLUMNS, PROJECTED, Projected, Row

COPIED_FROM = 50
"""From so many rows on COPY is quicker than INSERT, which takes a round trip less."""
PLACE = "block_number", "log_index"
"""Every row begins with them."""


@dataclass(frozen=True, slots=True)
class Both:
    """Two fields, one behind the other; null where both are zero."""

    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Text:
    """A text that stands in every row of the kind."""

    text: str


Source = str | Both | Text | None
"""A column of a row: a field of the event by its name, or one of these; None is null."""

_ROWS: dict[type[e.Event], tuple[str, tuple[Source, ...]]] = {
    e.DeviceRegistered: (
        "device_event",
        (Text("registered"), "device", "owner", "key_type", Both("x", "y"), None),
    ),
    e.DeviceMaterialised: (
        "device_event",
        (Text("materialised"), "device", "owner", "key_type", None, None),
    ),
    e.DeviceTransferred: (
        "device_event",
        (Text("transferred"), "device", "after", None, None, None),
    ),
    e.DeviceRevoked: (
        "device_event",
        (Text("revoked"), "device", None, None, None, "revoked_at"),
    ),
    e.RewardClaimed: ("claim_event", ("owner", "amount", "cumulative")),
    e.Deposited: ("payment_event", (Text("deposited"), "channel_id", "amount", "balance")),
    e.VoucherClaimed: ("payment_event", (Text("claimed"), "channel_id", "amount", "total_claimed")),
    e.Redeemed: ("payment_event", (Text("redeemed"), "channel_id", "amount", "total_claimed")),
    e.Refunded: ("payment_event", (Text("refunded"), "channel_id", "amount", None)),
    e.WithdrawInitiated: (
        "payment_event",
        (Text("withdrawing"), "channel_id", "amount", "finalize_after"),
    ),
    e.WithdrawFinalized: ("payment_event", (Text("withdrawn"), "channel_id", "amount", None)),
}
_INTEGER_BYTES = {"key_type": 2, "revoked_at": 8}
_NUMERIC = {"amount", "total", "cumulative"}
_NUMERIC_BYTES = 16
"""Columns that are no bytes: numbers of so many bytes, and numerics of up to 128 bits."""


@dataclass(frozen=True, slots=True)
class _Lazy:
    """All rows of some logs by the reference, made when somebody wants to see one."""

    logs: Sequence[Log]
    chain_id: int
    _made: list[Projected] = field(default_factory=list)

    def rows(self, table: str) -> Sequence[Row]:
        if not self._made:
            self._made.append(Projected.of(list(self.logs), self.chain_id))
        return self._made[0].tables[table]


@dataclass(frozen=True)
class PackedRows(Sequence[Row]):
    """Rows of a table as the bytes of a binary COPY; as rows for who takes them one by one."""

    table: str
    packed: bytes
    size: int
    _lazy: _Lazy

    @cached_property
    def _rows(self) -> Sequence[Row]:
        return self._lazy.rows(self.table)

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        return self._rows[place]


# ----------------------------------------------------------------------------- the plan


@dataclass(frozen=True, slots=True)
class _Plan:
    """How corechain-native tells our events apart, and which rows it makes of which."""

    events: Sequence[type[e.Event]]
    """By the number that it gives them."""
    kinds: Any
    tables: dict[str, Any]
    by_hand: frozenset[int]
    """Kinds that are for the reference: of which other rows are made, or whose length varies. So
    are logs that have not the shape of their kind."""


def _bytes_of(type_name: str) -> tuple[int, int]:
    """Where a value is in its word, and its size."""
    if type_name == "address":
        return WORD - 20, 20
    size = int(type_name.removeprefix("uint").removeprefix("bytes"))
    if type_name.startswith("bytes"):
        return 0, size
    return WORD - size // 8, size // 8


def _fields(layout: Layout) -> dict[str, tuple[int, int]]:
    """Of each field of an event: its first byte among the words, and its size."""
    topics, words = iter(layout.topics), iter(layout.words)
    at = {True: 0, False: WORD * len(layout.topics)}
    found = {}
    for item, indexed in zip(fields(layout.kind), layout.indexed, strict=True):
        start, size = _bytes_of(next(topics if indexed else words))
        found[item.name] = at[indexed] + start, size
        at[indexed] += WORD
    return found


def _column(library: Any, name: str, source: Source, places: dict[str, tuple[int, int]]) -> Any:
    made = library.Field
    if source is None:
        return made(library.NOTHING)
    if isinstance(source, Text):
        return made(library.CONSTANT, constant=source.text.encode())
    if isinstance(source, Both):
        (start, size), (second, more) = places[source.first], places[source.second]
        assert start + size == second
        return made(library.BYTES_UNLESS_ZERO, start, size + more)
    start, size = places[source]
    numeric = name in _NUMERIC
    wanted = _NUMERIC_BYTES if numeric else _INTEGER_BYTES.get(name, size)
    # What is before a number in its word is known to be zero, and so is the sign of an integer.
    assert size < wanted or (size == wanted and name not in _INTEGER_BYTES), name
    return made(library.NUMERIC if numeric else library.BYTES, start + size - wanted, wanted)


def _library() -> Any:
    """Of the logs' module: whoever has a LogTable has it."""
    assert native.library is not None
    return native.library.logs


@cache
def _plan() -> _Plan:
    library, kinds, by_hand = _library(), [], set()
    rows: dict[str, dict[int, list[Any]]] = {}
    for number, (topic, layout) in enumerate(layouts().items()):
        mask, packed = layout.mask, _ROWS.get(layout.kind)
        size = library.BY_REFERENCE if mask is None else len(mask)
        kinds.append((topic, len(layout.topics), size, mask or b""))
        if mask is None or (layout.kind in PROJECTED and packed is None):
            by_hand.add(number)
        elif packed is not None:
            table, sources = packed
            names, places = COLUMNS[table][len(PLACE) :], _fields(layout)
            columns = zip(names, sources, strict=True)
            rows.setdefault(table, {})[number] = [
                _column(library, name, source, places) for name, source in columns
            ]
    told = library.Kinds(kinds)
    tables = {table: library.FieldTable(made, told) for table, made in rows.items()}
    events = [layout.kind for layout in layouts().values()]
    return _Plan(events, told, tables, frozenset(by_hand))


# ------------------------------------------------------------------------------ of logs


def projected_of(logs: Sequence[Log], chain_id: int) -> Projected:
    """As `Projected.of`; by corechain-native where that has read the logs."""
    if isinstance(logs, LogTable) and len(logs) >= COPIED_FROM:
        return packed_of(logs, chain_id)
    return Projected.of(logs, chain_id)


def packed_of(logs: LogTable, chain_id: int) -> Projected:
    """As `projected_of` of many."""
    plan, packed = _plan(), logs.packed
    of: bytes = packed.kinds_of(plan.kinds)
    seen = frozenset(of)
    tables = {name: made for name, made in plan.tables.items() if not seen.isdisjoint(made.kinds)}
    by_hand = plan.by_hand & seen
    found = _projected(logs, of, by_hand, chain_id)
    if shared := found.tables.keys() & tables.keys():
        # Their rows stand in the order of the chain: a redemption is completed by those before it.
        by_hand |= {kind for name in shared for kind in tables.pop(name).kinds}
        found = _projected(logs, of, by_hand, chain_id)
    lazy = _Lazy(logs, chain_id)
    found.tables["event"] = PackedRows("event", packed.raw_rows(), len(logs), lazy)
    for name, made in tables.items():
        count = sum(map(of.count, made.kinds))
        found.tables[name] = PackedRows(name, packed.field_rows(of, made), count, lazy)
    found.counts.update(
        {
            plan.events[kind].__name__: of.count(kind)
            for kind in seen - by_hand
            if kind < len(plan.events)
        }
    )
    return found


def _projected(logs: LogTable, of: bytes, kinds: frozenset[int], chain_id: int) -> Projected:
    """By the reference: the logs of some kinds, and those that have not the shape of theirs."""
    wanted = kinds | {_library().ODD}
    places = [place for place, kind in enumerate(of) if kind in wanted]
    return Projected.without_raw([logs[place] for place in places], chain_id)
