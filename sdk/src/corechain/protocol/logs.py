"""Logs of the contracts to events, by fixed-width words: no ABI library on the path of a log.

A log is its topics and its data in 32-byte words; at most the last field is of dynamic size.
"""

from dataclasses import dataclass, fields, replace
from functools import cache
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

_WORDS_OF = {CONFIG: 7, PACKED: 3}
_INDEXED = " indexed"


class MalformedLog(ProtocolError):
    """A log of a known event that does not have its shape."""


@dataclass(frozen=True, slots=True)
class _Layout:
    kind: type[Event]
    topics: tuple[str, ...]
    words: tuple[str, ...]
    indexed: tuple[bool, ...]


def topic_of(kind: type[Event]) -> bytes:
    """topic0: keccak-256 of the canonical signature."""
    return keccak(kind.SIGNATURE.replace(" indexed", "").encode())


def _parameters(signature: str) -> list[str]:
    """Types of the parameters, with what follows them; commas inside a tuple divide nothing."""
    parts, depth = [""], 0
    for character in signature[signature.index("(") + 1 : -1]:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _layout(kind: type[Event]) -> _Layout:
    parameters = _parameters(kind.SIGNATURE)
    assert len(parameters) == len(fields(kind)), kind.SIGNATURE
    marks = tuple(text.endswith(_INDEXED) for text in parameters)
    topics = tuple(text.removesuffix(_INDEXED) for text in parameters if text.endswith(_INDEXED))
    words = tuple(text for text in parameters if not text.endswith(_INDEXED))
    return _Layout(kind, topics, words, marks)


@cache
def layouts() -> dict[bytes, _Layout]:
    return {topic_of(kind): _layout(kind) for kind in EVENTS}


def _value(type_name: str, word: bytes) -> Any:
    if type_name == "address":
        return word[12:]
    if type_name.startswith("bytes"):
        return word[: int(type_name[5:])]
    return int.from_bytes(word, "big")


def _config(words: list[bytes]) -> ChannelConfig:
    payer, payer_authorizer, receiver, receiver_authorizer, token = (w[12:] for w in words[:5])
    delay = int.from_bytes(words[5], "big")
    return ChannelConfig(
        payer, payer_authorizer, receiver, receiver_authorizer, token, delay, words[6]
    )


def _tail(layout: _Layout, data: bytes) -> tuple[bytes, bytes]:
    """Data without its dynamic last field, and that field: length, bytes, zeros up to a word."""
    start = 32 * len(layout.words)
    offset, size = (int.from_bytes(data[i : i + 32], "big") for i in (start - 32, start))
    value, padding = data[start + 32 :][:size], data[start + 32 :][size:]
    whole = start + 32 + -(-size // 32) * 32
    if offset != start or len(data) != whole or any(padding):
        raise MalformedLog(f"{layout.kind.__name__} has a last field in a shape of its own")
    return data[: start - 32], value


def _data_values(layout: _Layout, data: bytes) -> list[Any]:
    if layout.words == (EVIDENCE,):
        return [data]
    if layout.words[-1:] == ("bytes",):
        data, value = _tail(layout, data)
        return [*_static_values(replace(layout, words=layout.words[:-1]), data), value]
    if layout.words == ("bytes32[]",):
        return [_list(layout, data)]
    return _static_values(layout, data)


def _list(layout: _Layout, data: bytes) -> tuple[bytes, ...]:
    """The words of the only field: offset, count, words."""
    offset, count = (int.from_bytes(data[i : i + 32], "big") for i in (0, 32))
    if offset != 32 or len(data) != 64 + 32 * count:
        raise MalformedLog(f"{layout.kind.__name__} has a list in a shape of its own")
    return tuple(data[i : i + 32] for i in range(64, len(data), 32))


def _static_values(layout: _Layout, data: bytes) -> list[Any]:
    words = [data[i : i + 32] for i in range(0, len(data), 32)]
    expected = sum(_WORDS_OF.get(name, 1) for name in layout.words)
    if len(data) != 32 * expected:
        raise MalformedLog(f"{layout.kind.__name__} has {expected} words, not {len(data)} bytes")
    if layout.words == (CONFIG,):
        return [_config(words)]
    if layout.words == (PACKED,):
        return [data]
    return [_value(name, word) for name, word in zip(layout.words, words, strict=True)]


def decode_log(topics: list[bytes], data: bytes) -> Event | None:
    """The event of a log, None when it is not one of ours. Raises MalformedLog."""
    layout = layouts().get(topics[0]) if topics else None
    if layout is None:
        return None
    if len(topics) != 1 + len(layout.topics):
        raise MalformedLog(f"{layout.kind.__name__} has {len(layout.topics)} indexed fields")
    from_topics = iter(_value(n, t) for n, t in zip(layout.topics, topics[1:], strict=True))
    from_data = iter(_data_values(layout, data))
    return layout.kind(*(next(from_topics if mark else from_data) for mark in layout.indexed))


def commitments_of(event: Event | None) -> list[tuple[int, bytes]]:
    """(batch id, commitment) of what a log commits to; nothing for other events.

    Raises MalformedLog for a group that does not hold whole commitments.
    """
    if isinstance(event, BatchCommitted):
        return [(event.batch_id, event.commitment)]
    if not isinstance(event, BatchesCommitted):
        return []
    packed, first = event.commitments, event.first_batch_id
    if len(packed) % 26:
        raise MalformedLog(f"{len(packed)} bytes are no whole commitments")
    return [(first + i // 26, packed[i : i + 26]) for i in range(0, len(packed), 26)]
