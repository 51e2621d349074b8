"""Lists of the API as tables: columns with types, and rows with units, times and origins. Pure.

Beside the scaled integers (`value`, `sum`) stand real numbers in a UCUM unit, beside seconds a time
that software reads as one, and beside the batch what leads to the chain: its block, transaction,
commitment and root.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from corechain.protocol.vocabulary import BY_CODE
from corechain_indexer.api import schemas
from corechain_indexer.api.rows import hexed

if TYPE_CHECKING:
    from asyncpg import Record

Row = tuple[Any, ...]
Origins = Mapping[int, "Record"]
"""Batches by id: `block_number`, `transaction`, `commitment`, `readings_root`."""


class Kind(Enum):
    """What stands in a column; each may be absent (None). TIME is seconds since 1970."""

    INTEGER = "integer"
    REAL = "real"
    TEXT = "text"
    TIME = "time"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` makes them of an answer and the batches that it names."""

    columns: Mapping[str, Kind]
    rows: Callable[[Any, Origins], Iterable[Row]]
    batches: Callable[[Any], set[int]] = lambda answer: set()
    """Ids of the batches whose origin the rows show."""
    bounded: bool = False
    """Whether it can be asked for as of a block."""


_I, _R, _T, _TIME, _B = Kind.INTEGER, Kind.REAL, Kind.TEXT, Kind.TIME, Kind.BOOLEAN
_METRIC = {"metric": _I, "metric_name": _T, "unit": _T}
_ORIGIN = {"block": _I, "transaction": _T, "commitment": _T, "readings_root": _T}


def _metric(code: int) -> tuple[int, str | None, str | None]:
    known = BY_CODE.get(code)
    return (code, known.name, known.unit) if known else (code, None, None)


def _real(code: int, value: int) -> float | None:
    """In the metric's unit."""
    known = BY_CODE.get(code)
    return known.from_wire(value) if known else None


def _origin(batch: "Record") -> Row:
    names = ("transaction", "commitment", "readings_root")
    return (batch["block_number"], *(hexed(batch[name]) for name in names))


# ---------------------------------------------------------------------- what a device measured


def _reading(item: schemas.Reading, batch: "Record") -> Row:
    return (
        item.device,
        *_metric(item.metric),
        item.observed_at,
        item.observed_at,
        item.value,
        _real(item.metric, item.value),
        item.flag,
        item.cell,
        item.provenance,
        item.batch_id,
        item.position,
        item.finality,
        *_origin(batch),
    )


READINGS = Table(
    {
        "device": _T,
        **_METRIC,
        "observed_at": _I,
        "time": _TIME,
        "value": _I,
        "quantity": _R,
        "flag": _I,
        "cell": _T,
        "provenance": _T,
        "batch_id": _I,
        "position": _I,
        "finality": _T,
        **_ORIGIN,
    },
    lambda answer, origins: [_reading(item, origins[item.batch_id]) for item in answer.items],
    lambda answer: {item.batch_id for item in answer.items},
    bounded=True,
)


def _rejection(item: schemas.Rejection, batch_id: int, batch: "Record") -> Row:
    return (
        item.device,
        item.sequence,
        *_metric(item.metric),
        item.observed_at,
        item.observed_at,
        item.value,
        _real(item.metric, item.value),
        item.cell,
        " ".join(item.reasons),
        item.provenance,
        batch_id,
        item.ordinal,
        *_origin(batch),
    )


def _rejections(answer: Any, origins: Origins) -> Iterable[Row]:
    batch_id = answer.batch_id
    return [_rejection(item, batch_id, origins[batch_id]) for item in answer.items]


REJECTIONS = Table(
    {
        "device": _T,
        "sequence": _T,
        **_METRIC,
        "observed_at": _I,
        "time": _TIME,
        "value": _I,
        "quantity": _R,
        "cell": _T,
        "reasons": _T,
        "provenance": _T,
        "batch_id": _I,
        "ordinal": _I,
        **_ORIGIN,
    },
    _rejections,
    lambda answer: {answer.batch_id} if answer.items else set(),
)


def _bucket(answer: schemas.Series, item: schemas.Bucket) -> Row:
    code = answer.metric
    return (
        *_metric(code),
        item.start,
        item.start,
        answer.bucket,
        item.count,
        item.sum,
        item.min,
        item.max,
        item.mean,
        _real(code, item.min),
        _real(code, item.max),
    )


SERIES = Table(
    {
        **_METRIC,
        "start": _I,
        "time": _TIME,
        "bucket_s": _I,
        "count": _I,
        "sum": _I,
        "min": _I,
        "max": _I,
        "mean_quantity": _R,
        "min_quantity": _R,
        "max_quantity": _R,
    },
    lambda answer, origins: [_bucket(answer, item) for item in answer.items],
    bounded=True,
)

# ------------------------------------------------------------------------ what stands on chain


def _listed(columns: Mapping[str, Kind]) -> Table:
    """Of items whose fields are the columns."""
    return Table(
        columns,
        lambda answer, origins: [
            tuple(getattr(item, name) for name in columns) for item in answer.items
        ],
    )


def _batch(item: schemas.Batch) -> Row:
    header = item.header
    window = (None, None) if header is None else (header.window_start, header.window_end)
    counts = (None, None) if header is None else (header.reading_count, header.report_count)
    names = ("previous", "statistics_root", "reports_root", "data_hash", "rules_hash")
    roots = [None if header is None else getattr(header, name) for name in names]
    shown = (item.batch_id, item.state, item.reason, item.block, item.finality, item.transaction)
    return (*shown, item.commitment, item.readings_root, *roots, *window, *window, *counts,
            item.rejected_count)  # fmt: skip


BATCHES = Table(
    {
        "batch_id": _I,
        "state": _T,
        "reason": _T,
        "block": _I,
        "finality": _T,
        "transaction": _T,
        "commitment": _T,
        "readings_root": _T,
        "previous": _T,
        "statistics_root": _T,
        "reports_root": _T,
        "data_hash": _T,
        "rules_hash": _T,
        "window_start": _I,
        "window_end": _I,
        "window_start_time": _TIME,
        "window_end_time": _TIME,
        "readings": _I,
        "reports": _I,
        "rejections": _I,
    },
    lambda answer, origins: [_batch(item) for item in answer.items],
    bounded=True,
)
DEVICES = _listed(
    {
        "device": _T,
        "owner": _T,
        "key_type": _I,
        "revoked": _B,
        "revoked_at": _TIME,
        "block": _I,
        "finality": _T,
        "provenance": _T,
    }
)
EPOCHS = _listed(
    {
        "epoch": _I,
        "root": _T,
        "through_block": _I,
        "emission": _T,
        "active_at": _TIME,
        "block": _I,
        "finality": _T,
        "state": _T,
        "bridge_weight_bps": _I,
    }
)
STATE_CHANNELS = _listed(
    {
        "channel_id": _T,
        "party_a": _T,
        "party_b": _T,
        "token": _T,
        "challenge_period": _I,
        "open_before": _TIME,
        "salt": _T,
        "state": _T,
        "deposit": _T,
        "balance_a": _T,
        "version": _I,
        "deadline": _TIME,
        "block": _I,
    }
)
CHANNELS = _listed(
    {
        "channel_id": _T,
        "payer": _T,
        "payer_authorizer": _T,
        "receiver": _T,
        "receiver_authorizer": _T,
        "token": _T,
        "withdraw_delay": _I,
        "salt": _T,
        "balance": _T,
        "claimed": _T,
        "block": _I,
    }
)


def following(answer: Any) -> Mapping[str, str] | None:
    """The parameters with which the list goes on; None at its end."""
    if isinstance(answer, schemas.Series):
        return None if answer.next_from is None else {"from": str(answer.next_from)}
    cursor: str | None = answer.next_cursor
    return None if cursor is None else {"cursor": cursor}
