"""What the query API answers, as types: the OpenAPI document is made from them.

Bytes are 0x-hex, amounts decimal strings, times seconds since 1970, values scaled integers.
`finality` is of the block of what is shown: "pending", "safe" or "finalised", as the node says.
"""

import msgspec


class CatchingUp(msgspec.Struct, frozen=True):
    """A contract, or an event, that the index is taking up beside the others; the other one is
    null. Numbers of blocks: it has what happened before `at`, or in it; `to` is where the others
    are. Until it is there, answers that are made of it are refused (503, CatchingUp)."""

    contract: str | None
    event: str | None
    from_: int = msgspec.field(name="from")
    to: int
    at: int


class Status(msgspec.Struct, frozen=True):
    """`head_block`, `lag_blocks`: null while the node does not answer (`node_answers` is false).
    All else is of the mirror, hence as good as ever."""

    chain_id: int
    node_answers: bool
    head_block: int | None
    indexed_block: int
    lag_blocks: int | None
    safe_block: int
    final_block: int
    batches: dict[str, int]
    readings: int
    rejections: int
    catching_up: list[CatchingUp]


class ContractPlace(msgspec.Struct, frozen=True):
    """`block`: the one that created it; nothing of it is in an earlier one."""

    address: str
    block: int


class Network(msgspec.Struct, frozen=True):
    """Where the contracts are that this index follows. It is the server's word: who checks answers
    compares it with what was published elsewhere. `rpc_url`: a node that browsers may ask, where
    the operator names one."""

    chain_id: int
    contracts: dict[str, ContractPlace]
    rpc_url: str | None


class Device(msgspec.Struct, frozen=True):
    """`block`: in which it was registered, materialised or, only in a fleet, enrolled; `finality`
    of that block.
    `provenance`: "device", or "bridge" where a bridge signs for it."""

    device: str
    owner: str
    key_type: int
    revoked: bool
    revoked_at: int | None
    block: int
    finality: str
    provenance: str


class Devices(msgspec.Struct, frozen=True):
    items: list[Device]
    next_cursor: str | None


class Header(msgspec.Struct, frozen=True, gc=False):
    batch_id: int
    previous: str
    ancestor: str
    statistics_root: str
    reports_root: str
    data_hash: str
    rules_hash: str
    reading_count: int
    report_count: int
    window_start: int
    window_end: int


class Batch(msgspec.Struct, frozen=True):
    """`header` and what follows only in state `verified`; `reason` in `withheld` and `mismatch`."""

    batch_id: int
    state: str
    commitment: str
    block: int
    finality: str
    transaction: str
    reason: str | None
    header: Header | None
    readings_root: str | None
    rest_hash: str | None
    rejected_count: int | None


class Batches(msgspec.Struct, frozen=True):
    items: list[Batch]
    next_cursor: str | None


class Rejection(msgspec.Struct, frozen=True):
    ordinal: int
    device: str
    sequence: str
    metric: int
    cell: str
    observed_at: int
    value: int
    reasons: list[str]
    provenance: str


class Rejections(msgspec.Struct, frozen=True):
    items: list[Rejection]
    next_cursor: str | None
    batch_id: int


class Reading(msgspec.Struct, frozen=True):
    batch_id: int
    position: int
    metric: int
    cell: str
    device: str
    observed_at: int
    value: int
    flag: int
    finality: str
    provenance: str


class BatchProof(msgspec.Struct, frozen=True):
    """Proves all readings of a page that are of one batch, at once: `nodes` are 26 bytes each, in
    the order of docs/protocol.md. `block` is where the batch was committed."""

    batch_id: int
    block: int
    rest_hash: str
    depth: int
    nodes: str


class Readings(msgspec.Struct, frozen=True, omit_defaults=True):
    """`proofs`, one a batch of the page, only when asked for."""

    items: list[Reading]
    next_cursor: str | None
    proofs: list[BatchProof] = []


class ReadingProof(msgspec.Struct, frozen=True):
    """`block` is where the batch was committed."""

    batch_id: int
    block: int
    finality: str
    leaf: str
    position: int
    proof: list[str]
    rest_hash: str
    readings_root: str
    commitment: str
    provenance: str


class Part(msgspec.Struct, frozen=True, gc=False, rename={"start": "from", "end": "to"}):
    """One batch's share: positions [from, to) between the keys low and high, with the proof."""

    batch_id: int
    block: int
    finality: str
    header: Header
    readings_root: str
    low: str
    high: str
    start: int
    end: int
    leaves: list[str]
    nodes: list[str]
    count: int
    sum: int
    min: int
    max: int


class Disclosed(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """One batch's share of a region that reaches beyond the window: all leaves at positions
    [from, to) between the keys low and high and the ones right before and after, 40 bytes each,
    with their multiproof, 26 bytes a node."""

    batch_id: int
    block: int
    finality: str
    header: Header
    readings_root: str
    low: str
    high: str
    start: int
    end: int
    leaves: str
    nodes: str


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """A batch between the first and the last part whose window does not touch the one asked for."""

    batch_id: int
    block: int
    header: Header
    readings_root: str


class Statistics(msgspec.Struct, frozen=True, omit_defaults=True):
    """`disclosed` only of a region."""

    count: int
    sum: int
    min: int
    max: int
    parts: list[Part]
    skipped: list[Skipped]
    disclosed: list[Disclosed] = []


class Bucket(msgspec.Struct, frozen=True):
    start: int
    count: int
    mean: float
    sum: int
    min: int
    max: int


class Series(msgspec.Struct, frozen=True):
    """`next_from`: the start of the first bucket that is not shown, to go on with as `from`; null
    where all of the window is shown."""

    metric: int
    bucket: int
    items: list[Bucket]
    next_from: int | None = None


class Newest(msgspec.Struct, frozen=True):
    metric: int
    observed_at: int
    value: int
    flag: int
    cell: str
    batch_id: int
    position: int
    finality: str


class Latest(msgspec.Struct, frozen=True):
    device: str
    items: list[Newest]
    provenance: str


class Station(msgspec.Struct, frozen=True):
    """A device that has verified readings. `cell`: of its newest one; `newest`: of the metric that
    was asked for, null where it has none."""

    device: str
    cell: str
    revoked: bool
    provenance: str
    newest: Newest | None


class Stations(msgspec.Struct, frozen=True):
    """`metrics`: codes of all metrics that the devices of this page have newest values of. A page
    may have fewer items than `limit`, and go on: devices without readings are no stations."""

    items: list[Station]
    metrics: list[int]
    next_cursor: str | None


class Reward(msgspec.Struct, frozen=True):
    """An owner's leaf under a root that was recomputed from the data, and is claimable."""

    owner: str
    epoch: int
    root: str
    cumulative: str
    claimed: str
    position: int
    proof: list[str]


class Epoch(msgspec.Struct, frozen=True):
    """`bridge_weight_bps`: what a slot of a bridge's device counts under the epoch's rules, of
    10,000 for a device's own."""

    epoch: int
    root: str
    through_block: int
    emission: str
    active_at: int
    block: int
    finality: str
    state: str
    bridge_weight_bps: int


class Epochs(msgspec.Struct, frozen=True):
    items: list[Epoch]
    next_cursor: str | None


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class Health(msgspec.Struct, frozen=True):
    status: str
    failing: list[str] = []
    reasons: dict[str, str] = {}
    loops: dict[str, str] = {}


class HistoryBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch of a history. `ranges`: positions of each range that was asked for, from the first to
    behind the last; none where the batch does not touch the window, and is there so that nobody can
    have left it out. `leaves` (40 bytes each) are those of the ranges and the ones right before and
    behind each; `nodes` (26 bytes each) prove them together. Both in base64."""

    batch_id: int
    block: int
    finality: str
    transaction: str
    header: Header
    readings_root: str
    ranges: list[tuple[int, int]]
    leaves: bytes
    nodes: bytes


class History(msgspec.Struct, frozen=True):
    """`cells`: those of which the ranges are. `left`: how many ids of batches follow."""

    cells: list[str]
    batches: list[HistoryBatch]
    left: int
    next_cursor: str | None
