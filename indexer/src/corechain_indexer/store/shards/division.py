"""A batch's segments as rows of the shards that they belong to."""

from typing import Any

import numpy as np
import numpy.typing as npt

from corechain_indexer.store.segments import (
    COPY_END,
    COPY_HEAD,
    COPY_ROW,
    SEGMENT_COLUMNS,
    Segments,
)

SHARD_COLUMNS = (*SEGMENT_COLUMNS, "token")
_ROW = np.dtype([*COPY_ROW.descr, ("token_bytes", ">i4"), ("token", ">i8")])
_DEVICE_BYTES = 20


def divided(segments: Segments, token: int, count: int) -> dict[int, bytes]:
    """What COPY takes, by the number of the shard, of `count`. Pure; no Python step a segment."""
    rows = np.frombuffer(segments.packed, COPY_ROW)
    made = np.empty(len(rows), _ROW)
    for name in COPY_ROW.names or ():
        made[name] = rows[name]
    made["fields"], made["token_bytes"], made["token"] = len(SHARD_COLUMNS), 8, token
    owners = _owners(rows, count)
    return {
        number: COPY_HEAD + made[owners == number].tobytes() + COPY_END
        for number in np.unique(owners).tolist()
    }


def _owners(rows: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """As `owner_of`."""
    devices = np.ascontiguousarray(rows["device"]).view(np.uint8).reshape(-1, _DEVICE_BYTES)
    ends: npt.NDArray[np.int64] = devices[:, -2].astype(np.int64) << 8 | devices[:, -1]
    return ends & (count - 1)
