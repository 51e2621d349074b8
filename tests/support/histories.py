"""Histories of sealed batches, as an honest query API shows them: found by bisection."""

import base64
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from corechain.histories import History
from corechain.history_question import HistoryQuestion
from corechain.protocol.batch import Batch
from corechain.protocol.history_ranges import device_ranges, region_ranges
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.reading import KEY_BYTES
from corechain.protocol.vocabulary import METRICS, metric
from corechain.steps import Request
from support.batches import hexed
from support.flows import carried_out


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def header_json(batch: Batch) -> dict[str, Any]:
    fields = batch.header.__slots__  # type: ignore[attr-defined]
    values = {name: getattr(batch.header, name) for name in fields}
    return {
        name: hexed(value) if isinstance(value, bytes) else value for name, value in values.items()
    }


class HistoryApi:
    """Answers /v1/history. `page`: batches an answer; `changed`: what becomes of each answer;
    batch n is in block 10 n."""

    def __init__(self, batches: Sequence[Batch], page: int = 3) -> None:
        self.batches = {batch.header.batch_id: batch for batch in batches}
        self.page, self.requests = page, list[Request]()

    def __call__(self, request: Request) -> Any:
        self.requests.append(request)
        params = request.params
        cells = str(params.get("cell") or f"{self._cell(params):015x}").split(",")
        asked = dict(params) | {"cell": ",".join(cells)}
        numbers = self._numbers(asked)
        if "cursor" in params:
            numbers = numbers[numbers.index(int(params["cursor"])) :]
        shown, left = numbers[: self.page], numbers[self.page :]
        return {
            "cells": cells,
            "batches": [self._shown(self.batches[number], asked) for number in shown],
            "left": len(left),
            "next_cursor": str(left[0]) if left else None,
        }

    def _cell(self, params: Mapping[str, Any]) -> int:
        leaf = next(iter(self.batches.values())).leaves[0]
        return int.from_bytes(leaf[2:10], "big")

    def _touches(self, batch: Batch, asked: Mapping[str, Any]) -> bool:
        header = batch.header
        return (
            header.window_end >= asked.get("from", 0)
            and header.window_start <= asked.get("to", 2**40)
            and 10 * header.batch_id >= asked.get("since_block", 0)
        )

    def _numbers(self, asked: Mapping[str, Any]) -> list[int]:
        found: list[int] = []
        for lane in sorted({number >> 32 for number in self.batches}):
            some = self._of_lane(lane, asked)
            found += some[::-1] if asked.get("order") == "newest" else some
        return found

    def _of_lane(self, lane: int, asked: Mapping[str, Any]) -> list[int]:
        """From the last one before the time to the first one behind it, else to the edges."""
        start, end, since = (
            asked.get("from", 0),
            asked.get("to", 2**40),
            asked.get("since_block", 0),
        )
        own = {number: one.header for number, one in self.batches.items() if number >> 32 == lane}
        inside = [number for number in own if self._touches(self.batches[number], asked)]
        before = [
            number
            for number, header in own.items()
            if (header.window_end < start or 10 * number < since)
            and number < min(inside, default=2**48)
        ]
        low = max(before, default=min(own))
        behind = [
            number
            for number, header in own.items()
            if header.window_start > end and number > max(inside, default=max(before, default=0))
        ]
        return [number for number in own if low <= number <= min(behind, default=max(own))]

    def _shown(self, batch: Batch, asked: Mapping[str, Any]) -> dict[str, Any]:
        number = batch.header.batch_id
        ranges, leaves, nodes = [], b"", b""
        if self._touches(batch, asked):
            ranges = [_located(batch, *keys) for keys in _ranges(asked)]
            count = len(batch.leaves)
            around = {
                at for start, end in ranges for at in range(start - 1, end + 1) if 0 <= at < count
            }
            at = sorted(around)
            leaves = b"".join(batch.leaves[one] for one in at)
            nodes = b"".join(_tree(batch.commitment, *batch.leaves).multiproof(at))
        return {
            "batch_id": number,
            "block": 10 * number,
            "finality": "pending",
            "transaction": hexed(number.to_bytes(32, "big")),
            "header": header_json(batch),
            "readings_root": hexed(batch.readings.root),
            "ranges": ranges,
            "leaves": base64_of(leaves),
            "nodes": base64_of(nodes),
        }


@lru_cache(64)
def _tree(commitment: bytes, *leaves: bytes) -> MerkleTree:
    return MerkleTree.over(leaves)


def _located(batch: Batch, low: bytes, high: bytes) -> tuple[int, int]:
    leaves = batch.leaves
    return bisect_left(leaves, low), bisect_right(leaves, high, key=lambda leaf: leaf[:KEY_BYTES])


def _ranges(asked: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    named = [metric(asked["metric"])] if "metric" in asked else METRICS
    codes = [one.code for one in named]
    cells = [int(cell, 16) for cell in str(asked["cell"]).split(",")]
    if "device" not in asked:
        return region_ranges(codes, cells, int(asked["resolution"]))
    device = bytes.fromhex(str(asked["device"])[2:])
    window = asked.get("from", 0), asked.get("to", 2**40 - 1)
    return device_ranges(codes, cells, device, *window)


class HistoryChain:
    """The chain that has these batches, ten blocks apart."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.words = {batch.header.batch_id: batch.commitment for batch in batches}
        self.asked: list[set[int]] = []

    def commitments_of(self, batches: Mapping[int, int | None]) -> dict[int, bytes]:
        self.asked.append(set(batches))
        return {batch: self.words[batch] for batch in batches}

    def is_newest(self, batch_id: int) -> bool:
        return batch_id + 1 not in self.words

    def commitments_between(self, first: int, last: int) -> list[tuple[int, bytes]]:
        return [pair for pair in self.words.items() if first <= 10 * pair[0] <= last]


def question(**given: Any) -> HistoryQuestion:
    names = {"device": None, "metric": None, "start": None, "end": None, "region": None}
    names |= {"newest_first": False, "since_block": None, "resolution": 7}
    return HistoryQuestion.of(*(names | given).values(), given.pop("view", {}))


def history(
    api: Callable[[Any], Any],
    chain: Any,
    cursor: str | None = None,
    gaps: Any = "raise",
    progress: Any = None,
    **given: Any,
) -> History:
    stand = question(**given), cursor, gaps, progress, lambda: chain
    return History(lambda flow: carried_out(flow, api), stand)
