"""What a gateway's answer says of each report of a request."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from corechain.devnet.fleet.http1 import Answer
from corechain.http import retry_after_s
from corechain.protocol.errors import ReplayedSequence, by_name

Keys = Sequence[tuple[bytes, int]]

ACCEPTED = 202
BUSY = 429, 503
# A body that did not arrive in time, and what a proxy says of a gateway that is not there.
PASSING = (408, *BUSY, 500, 502, 504)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`refused`: reason by place in the request. `again`: some reports are to be sent again; then
    nothing counts yet, for a repeated request does no harm. `after_s`: how long to wait."""

    refused: Mapping[int, str] = field(default_factory=dict)
    again: str = ""
    after_s: float | None = None


ALL_ACCEPTED = Outcome()


def read(answer: Answer, count: int, keys: Callable[[], Keys]) -> Outcome:
    """`count` reports were sent; `keys` are their devices and sequences, in order."""
    if answer.status in PASSING:
        name = _problem_name(_document(answer.body)) if answer.status in BUSY else ""
        wait = retry_after_s(answer.headers)
        return Outcome(again=name or f"HTTP {answer.status}", after_s=wait)
    # The way of nearly every answer: nothing of it is parsed but the number.
    if answer.status == ACCEPTED and answer.body.startswith(b'{"accepted":%d,' % count):
        return ALL_ACCEPTED
    return _sorted(answer.status, _document(answer.body), keys())


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    return document if isinstance(document, dict) else {}


def _problem_name(document: Mapping[str, Any]) -> str:
    return str(document.get("type", "")).rpartition(":")[2]


def _sorted(status: int, document: Mapping[str, Any], keys: Keys) -> Outcome:
    results = document.get("results")
    if isinstance(results, list):
        reasons = _by_place(results, keys)
    elif status == ACCEPTED and document.get("accepted") == len(keys):
        reasons = {}
    elif status == ACCEPTED:
        return Outcome(again="an answer without results")
    else:
        reasons = dict.fromkeys(range(len(keys)), _problem_name(document) or f"HTTP {status}")
    again = next((name for name in reasons.values() if _passes(name)), "")
    # Who is told that a sequence was seen may treat it as delivered.
    seen = ReplayedSequence.__name__
    return Outcome({at: name for at, name in reasons.items() if name != seen}, again)


def _by_place(results: list[Any], keys: Keys) -> dict[int, str]:
    """The reasons of what was rejected: all reports are listed, or only those."""
    places = {key: place for place, key in enumerate(keys)}
    reasons: dict[int, str] = {}
    for index, entry in enumerate(results):
        if isinstance(entry, dict) and entry.get("status") != "accepted":
            place = places.get(_key(entry), index)
            reasons[place] = str(entry.get("error", "no reason given"))
    return reasons


def _key(entry: Mapping[str, Any]) -> tuple[bytes, int]:
    device, sequence = str(entry.get("device")), entry.get("sequence")
    try:
        return bytes.fromhex(device.removeprefix("0x")), int(str(sequence))
    except ValueError:
        return b"", -1


def _passes(name: str) -> bool:
    kind = by_name(name)
    return kind is not None and kind.status in BUSY
