"""The fixed-width decoder says of every log what eth_abi says of it.

given a log of an event of ours
  ├── as Solidity writes it: the fields are those of eth_abi
  └── of other bytes: it is decoded if and only if eth_abi's encoder could have written it
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.channel import ChannelConfig
from corechain.protocol.events import CONFIG, EVENTS, EVIDENCE, PACKED, Answered
from corechain.protocol.logs import Layout, MalformedLog, layouts
from corechain.protocol.receipt_events import RECEIPT_EVENTS

WORD = 32
LAYOUTS = {layout.kind: layout for layout in layouts().values()}
# Its last field is kept as it is encoded, so there is nothing to compare.
COMPARED = [LAYOUTS[kind] for kind in (*EVENTS, *RECEIPT_EVENTS) if kind is not Answered]


def value_of(type_name: str) -> st.SearchStrategy[Any]:
    if type_name.endswith("[]"):
        return st.lists(value_of(type_name[:-2]), max_size=4)
    if type_name == PACKED:
        return st.lists(st.binary(min_size=WORD, max_size=WORD), min_size=3, max_size=3)
    if type_name == CONFIG:
        return st.tuples(*map(value_of, CONFIG.strip("()").split(",")))
    if type_name == "address":
        return st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
    if type_name == "bytes":
        return st.binary(max_size=100)
    if type_name.startswith("bytes"):
        return st.binary(min_size=int(type_name[5:]), max_size=int(type_name[5:]))
    return st.integers(0, (1 << int(type_name[4:])) - 1)


def ours(value: Any, type_name: str) -> Any:
    """What eth_abi gives, as our events have it."""
    if type_name == CONFIG:
        names = CONFIG.strip("()").split(",")
        return ChannelConfig(*(ours(*pair) for pair in zip(value, names, strict=True)))
    if type_name == PACKED:
        return b"".join(value)
    if type_name.endswith("[]"):
        return tuple(value)
    return bytes.fromhex(value[2:]) if type_name == "address" else value


def referenced(layout: Layout, topics: Sequence[bytes], data: bytes) -> list[Any] | None:
    """The fields by eth_abi in the order of the signature; None where its encoder would have
    written other bytes."""
    try:
        indexed = [decode([n], t)[0] for n, t in zip(layout.topics, topics[1:], strict=True)]
        plain = list(decode(layout.words, data))
        if encode(layout.words, plain) != data:
            return None
    except (DecodingError, ValueError, OverflowError):
        return None
    shown = [iter([ours(*pair) for pair in zip(values, names, strict=True)])
             for values, names in ((plain, layout.words), (indexed, layout.topics))]  # fmt: skip
    return [next(shown[mark]) for mark in layout.indexed]


def decoded(layout: Layout, topics: Sequence[bytes], data: bytes) -> list[Any] | None:
    try:
        event = layout.event(topics, data)
    except MalformedLog:
        return None
    assert type(event) is layout.kind
    return [getattr(event, item.name) for item in fields(layout.kind)]


@st.composite
def logs(draw: st.DrawFn) -> tuple[Layout, list[bytes], bytes]:
    layout = draw(st.sampled_from(COMPARED))
    topics = [encode([name], [draw(value_of(name))]) for name in layout.topics]
    data = encode(layout.words, [draw(value_of(name)) for name in layout.words])
    return layout, [bytes(WORD), *topics], data


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[Layout, list[bytes], bytes]:
    """A log with a byte changed, cut or added, or with other topics."""
    layout, topics, data = draw(logs())
    whole = bytearray(b"".join(topics[1:]) + data)
    for _ in range(draw(st.integers(0, 2))):
        if whole:
            whole[draw(st.integers(0, len(whole) - 1))] = draw(st.integers(0, 255))
    parts = len(topics) - 1
    fresh = [bytes(whole[WORD * n : WORD * (n + 1)]) for n in range(parts)]
    rest = bytes(whole[WORD * parts :])
    rest = rest[: draw(st.integers(0, len(rest)))] if draw(st.booleans()) else rest
    more = draw(st.sampled_from([b"", b"", b"\0", bytes(WORD)]))
    count = draw(st.sampled_from([0, 0, 0, 1, -1]))
    fresh = [*fresh, bytes(WORD)][: max(0, parts + count)]
    return layout, [topics[0], *fresh], rest + more


def test_every_event_is_compared_but_the_one_whose_field_stays_encoded() -> None:
    assert {layout.kind for layout in COMPARED} == set(LAYOUTS) - {Answered}
    assert LAYOUTS[Answered].words == (EVIDENCE,)


@given(logs())
def test_a_log_is_decoded_as_eth_abi_decodes_it(log: tuple[Layout, list[bytes], bytes]) -> None:
    found = decoded(*log)
    assert found is not None
    assert found == referenced(*log)


@given(spoiled())
def test_what_the_encoder_would_not_have_written_is_malformed(
    log: tuple[Layout, list[bytes], bytes],
) -> None:
    assert decoded(*log) == referenced(*log)


@given(st.sampled_from(COMPARED), st.binary(max_size=300), st.integers(0, 4))
def test_random_bytes_are_decoded_only_as_eth_abi_would(
    layout: Layout, data: bytes, topics: int
) -> None:
    log = layout, [bytes(WORD)] * topics, data
    assert decoded(*log) == (referenced(*log) if topics else None)
