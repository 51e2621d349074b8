"""JSON bodies straight to packed reports: what `reports_from_json` takes, its oracle.

What is plainly good is packed by one call (native, or one decode in Python); for anything else the
reference is asked report by report, so that every refusal has its words.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from corechain.protocol import native
from corechain.protocol.cells import is_cell
from corechain.protocol.errors import ProtocolError
from corechain.protocol.reading import BODY_HEAD, MAX_OBSERVATIONS, OBSERVATION
from corechain.protocol.report_json import (
    ADDRESS,
    CELL,
    ITEM_KEYS,
    KEYS,
    SIGNATURE,
    UNREADABLE,
    DeclaredReport,
    JsonReport,
    items_of,
    report_or_error,
)
from corechain.protocol.signature import compact_signature
from corechain.protocol.vocabulary import METRICS

_CODES: Mapping[int | str, int] = {
    **{metric.code: metric.code for metric in METRICS},
    **{metric.name: metric.code for metric in METRICS},
}
PART_MIN = 16
"""Fewer reports are read one by one: trying them together costs as much as reading some."""
_many = msgspec.json.Decoder(list[JsonReport])
_one = msgspec.json.Decoder(JsonReport)
_native_pack = native.function("pack_json")
_native_vocabulary = native.function("vocabulary")
_VOCABULARY = (
    b""
    if _native_vocabulary is None
    else _native_vocabulary({metric.name: metric.code for metric in METRICS})
)


@dataclass(frozen=True, slots=True)
class PackedReports:
    """A request's reports, packed. Places are positions in the request."""

    packed: bytes
    """Those that can be read, in order."""
    places: Sequence[int]
    """Of each of them."""
    errors: Mapping[int, ProtocolError]
    """Of the others, by place."""
    declared: Mapping[int, tuple[int | None, bytes | None]]
    """By place: (chain id, registry) that readable reports say they are for, where they do."""

    def __len__(self) -> int:
        return len(self.places) + len(self.errors)


def pack_json(body: bytes) -> PackedReports:
    """A request body, one report or a list. Raises MalformedReport or ValueOutOfRange when the body
    as a whole is not JSON."""
    packed = _plainly_good(body)
    return _joined(_parts(items_of(body))) if packed is None else packed


def _plainly_good(body: bytes) -> PackedReports | None:
    return _native(body) if _native_pack is not None else _plain(body)


def _parts(items: list[bytes]) -> Iterator[PackedReports]:
    """A list in which some report is not plainly good: by halves, so that only a few of its
    neighbours go the slow way with it."""
    if len(items) < PART_MIN:
        yield _by_reference(items)
        return
    middle = len(items) // 2
    for half in (items[:middle], items[middle:]):
        packed = _plainly_good(b"[" + b",".join(half) + b"]")
        if packed is None:
            yield from _parts(half)
        else:
            yield packed


def _by_reference(items: Sequence[bytes]) -> PackedReports:
    found = dict(enumerate(map(report_or_error, items)))
    errors = {place: one for place, one in found.items() if isinstance(one, ProtocolError)}
    good = {place: one for place, one in found.items() if not isinstance(one, ProtocolError)}
    declared = {place: (one.chain_id, one.registry) for place, one in good.items() if _tells(one)}
    packed = b"".join(one.signed.pack() for one in good.values())
    return PackedReports(packed, list(good), errors, declared)


def _joined(parts: Iterable[PackedReports]) -> PackedReports:
    packed: list[bytes] = []
    places: list[int] = []
    errors: dict[int, ProtocolError] = {}
    declared: dict[int, tuple[int | None, bytes | None]] = {}
    for part in parts:
        before = len(places) + len(errors)
        packed.append(part.packed)
        places += [before + place for place in part.places]
        errors |= {before + place: error for place, error in part.errors.items()}
        declared |= {before + place: told for place, told in part.declared.items()}
    return PackedReports(b"".join(packed), places, errors, declared)


# ---------------------------------------------------------------------------- native


def _native(body: bytes) -> PackedReports | None:
    assert _native_pack is not None
    found = _native_pack(body, _VOCABULARY)
    if found is None:
        return None
    packed, chains, registries, has_registries = found
    declared = {}
    if max(chains) >= 0 or any(has_registries):
        for place, (chain, has) in enumerate(zip(chains, has_registries, strict=True)):
            registry = registries[20 * place : 20 * place + 20] if has else None
            if chain >= 0 or has:
                declared[place] = (chain if chain >= 0 else None, registry)
    return PackedReports(packed, range(len(chains)), {}, declared)


# ---------------------------------------------------------------------------- pure Python


def _plain(body: bytes) -> PackedReports | None:
    """None unless every report is good, and said in the usual way."""
    if b"\\" in body:
        return None
    try:
        items = _many.decode(body) if body.lstrip()[:1] == b"[" else [_one.decode(body)]
        packed = [_packed(item) for item in items]
        declared = {place: _told(item) for place, item in enumerate(items) if _tells(item)}
    except (*UNREADABLE, ProtocolError, struct.error, TypeError, ValueError):
        return None
    if not items or _may_repeat_keys(body, items):
        return None
    return PackedReports(b"".join(packed), range(len(items)), {}, declared)


def _may_repeat_keys(body: bytes, items: Sequence[JsonReport]) -> bool:
    """Each key is there once a report at least, so the sum shows whether one is there twice."""
    observations = sum(len(item.observations) for item in items)
    chains = sum(item.chain_id is not None for item in items)
    registries = sum(item.registry is not None for item in items)
    return (
        any(body.count(key) != len(items) for key in KEYS)
        or any(body.count(key) != observations for key in ITEM_KEYS)
        or body.count(b'"chain_id"') != chains
        or body.count(b'"registry"') != registries
    )


def _packed(item: JsonReport) -> bytes:
    """Raises ValueError, TypeError, struct.error or ProtocolError for what is not plainly good."""
    observations = [
        # No float passes: it has no shift, and struct takes none for an integer.
        OBSERVATION.pack(
            _CODES.get(one.metric, -1),
            _cell(one.cell),
            one.observed_at >> 32,  # type: ignore[operator]
            one.observed_at & 0xFFFFFFFF,  # type: ignore[operator]
            one.value,
        )
        for one in item.observations
    ]
    if not ADDRESS.fullmatch(item.device) or not SIGNATURE.fullmatch(item.signature):
        raise ValueError
    if not 1 <= len(observations) <= MAX_OBSERVATIONS:
        raise ValueError
    head = BODY_HEAD.pack(bytes.fromhex(item.device[2:]), item.sequence, len(observations))
    return head + b"".join(observations) + compact_signature(bytes.fromhex(item.signature[2:]))


@lru_cache(1 << 16)
def _cell(text: str) -> int:
    """Stations stay where they are. Raises ValueError."""
    index = int(text, 16) if CELL.fullmatch(text) else 0
    if not is_cell(index):
        raise ValueError
    return index


def _tells(item: JsonReport | DeclaredReport) -> bool:
    return item.chain_id is not None or item.registry is not None


def _told(item: JsonReport) -> tuple[int | None, bytes | None]:
    """Raises ValueError."""
    registry = item.registry
    if registry is not None and not ADDRESS.fullmatch(registry):
        raise ValueError
    return item.chain_id, None if registry is None else bytes.fromhex(registry[2:])
