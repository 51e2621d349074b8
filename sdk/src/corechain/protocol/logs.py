"""Logs of the contracts to events, by fixed-width words: no ABI library on the path of a log.

A log is its topics and its data in 32-byte words; at most the last field is of dynamic size. What
is decoded is what Solidity's encoder writes and nothing else: a word with dirty padding, an offset
to elsewhere or a byte too many is malformed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from struct import Struct
from typing import Any

from corechain.protocol.channel import ChannelConfig
from corechain.protocol.errors import ProtocolError
from corechain.protocol.events import (
    CONFIG,
    EVENTS,
    EVIDENCE,
    PACKED,
    BatchCommitted,
    BatchesCommitted,
    Event,
)
from corechain.protocol.hashing import keccak
from corechain.protocol.receipt_events import RECEIPT_EVENTS

WORD = 32
BYTES, LIST = "bytes", "bytes32[]"
DYNAMIC = BYTES, LIST, EVIDENCE
_INDEXED = " indexed"
BATCH_ID_BITS = 48
_QUADRUPLE_BITS = 64
"""The widest number that `struct` reads by itself."""


class MalformedLog(ProtocolError):
    """A log of a known event that does not have its shape."""


def topic_of(kind: type[Event]) -> bytes:
    """topic0: keccak-256 of the canonical signature."""
    return keccak(kind.SIGNATURE.replace(" indexed", "").encode())


def _parameters(text: str) -> list[str]:
    """Types between parentheses, with what follows them; commas inside a tuple divide nothing."""
    parts, depth = [""], 0
    for character in text[text.index("(") + 1 : -1]:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _width(type_name: str) -> int:
    """Bytes of a value in its word."""
    if type_name == "address":
        return 20
    digits = type_name.removeprefix("uint").removeprefix("bytes")
    return int(digits) // 8 if type_name.startswith("uint") else int(digits)


def _format(type_name: str) -> str:
    """How `struct` reads a static field."""
    if type_name == CONFIG:
        return "".join(map(_format, _parameters(CONFIG)))
    if type_name == PACKED:
        return "96s"
    width = _width(type_name)
    if type_name.startswith("bytes"):
        return f"{width}s{WORD - width}x"
    if type_name == "address":
        return "12x20s"
    return "24xQ" if 8 * width <= _QUADRUPLE_BITS else "32s"


def _padding(type_name: str) -> bytes:
    """Ones where a static field has to be zero."""
    if type_name == CONFIG:
        return b"".join(map(_padding, _parameters(CONFIG)))
    if type_name == PACKED:
        return bytes(3 * WORD)
    width = _width(type_name)
    value, rest = bytes(width), b"\xff" * (WORD - width)
    return value + rest if type_name.startswith("bytes") else rest + value


def _is_wide(type_name: str) -> bool:
    return type_name.startswith("uint") and 8 * _width(type_name) > _QUADRUPLE_BITS


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the fields of an event are in its logs. `indexed`: of each field of the signature."""

    kind: type[Event]
    topics: tuple[str, ...]
    words: tuple[str, ...]
    indexed: tuple[bool, ...]
    _tail: str | None = field(init=False)
    _static: Struct = field(init=False)
    _must_be_zero: int = field(init=False)
    _wide: tuple[int, ...] = field(init=False)
    _order: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        last = self.words[-1] if self.words else ""
        tail = last if last in DYNAMIC else None
        static = (*self.topics, *(self.words[:-1] if tail else self.words))
        zeros = int.from_bytes(b"".join(map(_padding, static)), "big")
        for name, value in {
            "_tail": tail,
            "_static": Struct(">" + "".join(map(_format, static))),
            "_must_be_zero": zeros,
            "_wide": tuple(place for place, name in enumerate(static) if _is_wide(name)),
            "_order": self._places(),
        }.items():
            object.__setattr__(self, name, value)

    def _places(self) -> tuple[int, ...]:
        """Of each field of the signature among topics and words; empty where they are in order."""
        from_topics, from_words = iter(range(100)), iter(range(len(self.topics), 100))
        found = tuple(next(from_topics if mark else from_words) for mark in self.indexed)
        return () if found == tuple(range(len(found))) else found

    @property
    def mask(self) -> bytes | None:
        """Ones where its words (topics behind the first, then data) have to be zero, as long as
        these are; None where their number depends on what the last field holds."""
        if self._tail is not None:
            return None
        return self._must_be_zero.to_bytes(self._static.size, "big")

    def check(self, topics: Sequence[bytes], data: bytes) -> None:
        """As `values`, for who wants none of them. Raises MalformedLog."""
        if self._tail is not None:
            data, _ = self._split(data)
        self._checked(topics, data)

    def values(self, topics: Sequence[bytes], data: bytes) -> Sequence[Any]:
        """The fields in the order of the signature. Raises MalformedLog."""
        tail = None
        if self._tail is not None:
            data, tail = self._split(data)
        found: Sequence[Any] = self._static.unpack(self._checked(topics, data))
        if self._wide or self._order or tail is not None:
            found = self._arranged(found, tail)
        return found

    def _checked(self, topics: Sequence[bytes], data: bytes) -> bytes:
        """The words of the static fields, topics first. Raises MalformedLog."""
        if len(topics) != 1 + len(self.topics):
            raise MalformedLog(f"{self.kind.__name__} has {len(self.topics)} indexed fields")
        whole = b"".join((*topics[1:], data))
        if len(whole) != self._static.size:
            raise MalformedLog(f"{self.kind.__name__} is not {len(data)} bytes long")
        if int.from_bytes(whole, "big") & self._must_be_zero:
            raise MalformedLog(f"{self.kind.__name__} has a field that is wider than its type")
        return whole

    def _arranged(self, static: Sequence[Any], tail: Any) -> list[Any]:
        found = list(static)
        for place in self._wide:
            found[place] = int.from_bytes(found[place], "big")
        if tail is not None:
            found.append(tail)
        return [found[place] for place in self._order] if self._order else found

    def event(self, topics: Sequence[bytes], data: bytes) -> Event:
        """Raises MalformedLog."""
        found = self.values(topics, data)
        if self.words == (CONFIG,):
            places = len(self.topics)
            found = [*found[:places], ChannelConfig(*found[places:])]
        return self.kind(*found)

    def _split(self, data: bytes) -> tuple[bytes, Any]:
        """What is static, and the last field."""
        if self._tail == EVIDENCE:
            return b"", data
        start = WORD * len(self.words)
        offset, size = (int.from_bytes(data[i : i + WORD], "big") for i in (start - WORD, start))
        if offset != start or len(data) < start + WORD:
            raise self._odd()
        read: Callable[[bytes, int], Any] = self._list if self._tail == LIST else self._bytes
        return data[: start - WORD], read(data[start + WORD :], size)

    def _bytes(self, content: bytes, size: int) -> bytes:
        """Bytes, and zeros up to a word."""
        if len(content) != -(-size // WORD) * WORD or any(content[size:]):
            raise self._odd()
        return content[:size]

    def _list(self, content: bytes, count: int) -> tuple[bytes, ...]:
        if len(content) != WORD * count:
            raise self._odd()
        return tuple(content[i : i + WORD] for i in range(0, len(content), WORD))

    def _odd(self) -> MalformedLog:
        return MalformedLog(f"{self.kind.__name__} has a last field in a shape of its own")


def _layout(kind: type[Event]) -> Layout:
    parameters = _parameters(kind.SIGNATURE)
    assert len(parameters) == len(fields(kind)), kind.SIGNATURE
    marks = tuple(text.endswith(_INDEXED) for text in parameters)
    topics = tuple(text.removesuffix(_INDEXED) for text in parameters if text.endswith(_INDEXED))
    words = tuple(text for text in parameters if not text.endswith(_INDEXED))
    return Layout(kind, topics, words, marks)


@cache
def layouts() -> dict[bytes, Layout]:
    """Of all events, by topic0."""
    return {topic_of(kind): _layout(kind) for kind in (*EVENTS, *RECEIPT_EVENTS)}


def layout_of(topics: Sequence[bytes]) -> Layout | None:
    """How a log with these topics is read; None when it is not one of ours."""
    return layouts().get(topics[0]) if topics else None


def decode_log(topics: Sequence[bytes], data: bytes) -> Event | None:
    """The event of a log, None when it is not one of ours. Raises MalformedLog."""
    layout = layout_of(topics)
    return None if layout is None else layout.event(topics, data)


def commitments_of(event: Event | None) -> list[tuple[int, bytes]]:
    """(batch id, commitment) of what a log commits to; nothing for other events.

    Raises MalformedLog for a group that does not hold whole commitments, or more of them than there
    are ids.
    """
    if isinstance(event, BatchCommitted):
        return [(event.batch_id, event.commitment)]
    if not isinstance(event, BatchesCommitted):
        return []
    packed, first = event.commitments, event.first_batch_id
    if len(packed) % 26:
        raise MalformedLog(f"{len(packed)} bytes are no whole commitments")
    # An id is part of what is signed, in 48 bits: whoever reads one packs it again.
    if first + len(packed) // 26 > 1 << BATCH_ID_BITS:
        raise MalformedLog(f"a group of batches from {first} on ends behind the last id")
    return [(first + i // 26, packed[i : i + 26]) for i in range(0, len(packed), 26)]
