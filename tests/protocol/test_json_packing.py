"""Packing JSON takes what the reference takes, and refuses in its words: native and pure Python."""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol import json_packing
from corechain.protocol.errors import MalformedReport, ProtocolError
from corechain.protocol.json_packing import pack_json
from corechain.protocol.reading import MAX_OBSERVATIONS
from corechain.protocol.report_json import FEW_ITEMS, reports_from_json
from corechain.protocol.signature import SECP256K1_ORDER
from corechain.protocol.vocabulary import METRICS

CELLS = ["872a1072bffffff", "0872a1072bffffff", "8001fffffffffff"]
HALF = SECP256K1_ORDER // 2
# What stands where a value should, and is one only to some decoder.
ODD = [
    *("0", "-0", "00", "01", "1.0", "1e3", "1E3", "-1", "+1", "1.", ".5", "NaN", "-Infinity"),
    *("true", "null", '""', "[]", "{}", '"1"', '"0x"', "18446744073709551615"),
    *("18446744073709551616", "2147483647", "2147483648", "-2147483648", "-2147483649"),
    *("1099511627775", "1099511627776", "9223372036854775808", "1" * 40, '"é"', '"\\u0031"'),
    *('"872A1072BFFFFFF"', '"0872a1072bffffff"', '"872a1072bffffff0"', '"ffffffffffffffff"'),
    *('"air_temperature"', '"air_temperatur"', '"co2"', "13", "14", "65536", '"device"'),
]


def _hex(rng: random.Random, size: int) -> str:
    digits = rng.randbytes(size).hex()
    return "0x" + (digits.upper() if rng.random() < 0.2 else digits)


def _signature(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return _hex(rng, 64)
    s = rng.choice([HALF, HALF + 1, rng.randrange(2**256), 0])
    v = rng.choice(["1b", "1c", "1d", "00"])
    return _hex(rng, 32) + s.to_bytes(32, "big").hex() + v


def _observation(rng: random.Random) -> dict[str, object]:
    metric = rng.choice(METRICS)
    return {
        "metric": rng.choice([metric.code, metric.name, metric.name]),
        "cell": rng.choice(CELLS),
        "observed_at": rng.choice([0, 1_359_676_800, 2**40 - 1]),
        "value": rng.choice([0, 1, -1, 2**31 - 1, -(2**31)]),
    }


def _shuffled(rng: random.Random, fields: dict[str, object]) -> dict[str, object]:
    names = list(fields)
    rng.shuffle(names)
    return {name: fields[name] for name in names}


def _document(rng: random.Random) -> dict[str, object]:
    items = [_shuffled(rng, _observation(rng)) for _ in range(rng.choice([1, 1, 1, 2, 5]))]
    fields: dict[str, object] = {
        "device": _hex(rng, 20),
        "sequence": rng.choice([0, 7, 2**63, 2**64 - 1]),
        "observations": items,
        "signature": _signature(rng),
    }
    if rng.random() < 0.3:
        fields["chain_id"] = rng.choice([0, 1, 2**63 - 1, 2**63, None, -1])
    if rng.random() < 0.3:
        fields["registry"] = rng.choice([_hex(rng, 20), _hex(rng, 19), None])
    return _shuffled(rng, fields)


def _body(rng: random.Random) -> bytes:
    documents: Any = [_document(rng) for _ in range(rng.choice([0, 1, 2, 5]))]
    if len(documents) == 1 and rng.random() < 0.5:
        (documents,) = documents
    indent, separators = rng.choice([(None, (",", ":")), (None, (", ", ": ")), (1, (",", " : "))])
    return json.dumps(documents, indent=indent, separators=separators).encode()


def _mutated(rng: random.Random, body: bytes) -> bytes:
    """A token replaced, a piece repeated or lost, or a byte: nearly right."""
    at, end = sorted(rng.randrange(len(body) + 1) for _ in range(2))
    kind = rng.randrange(6)
    if kind == 0:
        return body[:at] + bytes([rng.choice(b'\t\n\r \x0b\0"\\,:{}[]019aF-\xff')]) + body[at:]
    if kind == 1:
        return body[:at] + body[at + 1 :]
    if kind == 2 and end - at < 400:
        return body[:end] + body[at:]
    if kind == 3:
        return body[:at] + body[end:] if end - at < 200 else body[:at]
    start = body.find(b":", at) + 1
    if start and kind == 4:  # the value of some key
        stop = min((i for i in (body.find(mark, start) for mark in b",}]") if i > 0), default=start)
        return body[:start] + rng.choice(ODD).encode() + body[stop:]
    key = body.find(b'"', at)
    return body[:key] + b'"value":1,' + body[key:] if kind == 5 else body


Facts = tuple[bytes, dict[int, object], dict[int, object], int]


def by_reference(body: bytes) -> Facts:
    items = reports_from_json(body)
    read = {place: item for place, item in enumerate(items) if not isinstance(item, ProtocolError)}
    told = {place: (item.chain_id, item.registry) for place, item in read.items()}
    return (
        b"".join(item.signed.pack() for item in read.values()),
        {i: (type(e), str(e)) for i, e in enumerate(items) if isinstance(e, ProtocolError)},
        {place: each for place, each in told.items() if each != (None, None)},
        len(items),
    )


def by_packing(body: bytes) -> Facts:
    found = pack_json(body)
    errors = {place: (type(error), str(error)) for place, error in found.errors.items()}
    assert sorted([*found.places, *errors]) == list(range(len(found)))
    return found.packed, errors, dict(found.declared), len(found)


def outcome(read: Callable[[bytes], Facts], body: bytes) -> object:
    try:
        return read(body)
    except ProtocolError as error:
        return type(error), str(error)


def agree(body: bytes) -> None:
    assert outcome(by_packing, body) == outcome(by_reference, body)


@pytest.fixture(params=["installed", "pure Python"], autouse=True, scope="module")
def _packer(request: pytest.FixtureRequest) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "pure Python":
            patch.setattr(json_packing, "_native_pack", None)
        yield


@given(st.integers(0, 2**64 - 1))
def test_bodies_and_what_is_nearly_one_are_packed_as_by_the_reference(seed: int) -> None:
    rng = random.Random(seed)
    body = _body(rng)
    agree(body)
    for _ in range(12):
        agree(_mutated(rng, body))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_as_by_the_reference(body: bytes) -> None:
    agree(body)


def _fields() -> dict[str, Any]:
    rng = random.Random(4)
    return _document(rng) | {
        "observations": [_observation(rng)],
        "signature": _hex(rng, 64),
        "chain_id": 5,
        "registry": _hex(rng, 20),
    }


@pytest.mark.parametrize("odd", ODD)
def test_every_odd_value_of_every_field_is_taken_or_refused_as_by_the_reference(odd: str) -> None:
    fields = _fields()
    for name in ["device", "sequence", "observations", "signature", "chain_id", "registry"]:
        body = json.dumps(fields | {name: "@"}).replace('"@"', odd).encode()
        agree(body)
        agree(b"[" + body + b"," + json.dumps(fields).encode() + b"]")
    for name in ["metric", "cell", "observed_at", "value"]:
        item = fields["observations"][0] | {name: "@"}
        agree(json.dumps(fields | {"observations": [item]}).replace('"@"', odd).encode())


def test_a_report_without_one_of_its_keys_is_refused_as_by_the_reference() -> None:
    fields = _fields()
    for name in fields:
        agree(json.dumps({key: fields[key] for key in fields if key != name}).encode())
    (item,) = fields["observations"]
    for name in item:
        without = {key: item[key] for key in item if key != name}
        agree(json.dumps(fields | {"observations": [without]}).encode())
        agree(json.dumps(fields | {"observations": [item, without, item]}).encode())


@pytest.mark.parametrize("digit", "gG@`/:\x7fé")
@pytest.mark.parametrize("name", ["device", "registry", "signature"])
def test_what_is_next_to_a_digit_is_none_as_for_the_reference(name: str, digit: str) -> None:
    """The characters around 0-9, A-F and a-f, where a digit is looked up by subtraction."""
    fields = _fields()
    good = fields[name]
    for place in (2, 3, len(good) // 2, len(good) - 1):
        text = good[:place] + digit + good[place + 1 :]
        agree(json.dumps(fields | {name: text}, ensure_ascii=False).encode())


@pytest.mark.parametrize("name", ["device", "registry", "signature"])
def test_only_0x_stands_before_digits(name: str) -> None:
    fields = _fields()
    for prefix in ("0X", "00", "1x", "x0", "", "0x0x", " 0x", "\\u0030x"):
        text = json.dumps(fields | {name: prefix + fields[name][2:]})
        agree(text.replace("\\\\", "\\").encode())


def _cell(mode: int, resolution: int, base: int, digits: Sequence[int]) -> str:
    """The index that these parts make, whether there is such a cell or not (h3geo.org)."""
    index = mode << 56 | resolution << 52 | base << 45
    for level, digit in enumerate(digits, start=1):
        index |= digit << 3 * (15 - level)
    return f"{index:015x}"


def test_cells_are_those_of_the_reference_at_every_edge() -> None:
    """Base cells up to 127 (121 is the last), pentagons' missing children, digits behind the end of
    the resolution, other modes."""
    fields = _fields()
    (item,) = fields["observations"]
    cells = [_cell(8, 0, base, [7] * 15) for base in range(128)]
    cells += [_cell(8, 2, base, [0, 1, *[7] * 13]) for base in range(122)]
    for base in (0, 4, 5, 117, 121, 122):
        for head in itertools.product((0, 1, 2, 6, 7), repeat=3):
            for resolution in (1, 2, 3):
                cells.append(_cell(8, resolution, base, [*head, *[7] * 12]))
    cells += [_cell(mode, 2, 5, [0, 3, *[7] * 13]) for mode in range(256)]
    for cell in cells:
        agree(json.dumps(fields | {"observations": [item | {"cell": cell}]}).encode())


@pytest.mark.parametrize("s", [0, 1, HALF - 1, HALF, HALF + 1, 2**256 - 1])
def test_every_v_is_taken_or_refused_as_by_the_reference(s: int) -> None:
    fields, r = _fields(), "0x" + "17" * 32
    for v in range(256):
        signature = r + s.to_bytes(32, "big").hex() + f"{v:02x}"
        agree(json.dumps(fields | {"signature": signature}).encode())


@pytest.mark.parametrize("count", [0, 1, MAX_OBSERVATIONS, MAX_OBSERVATIONS + 1])
def test_the_number_of_observations_is_limited_as_by_the_reference(count: int) -> None:
    fields = _fields()
    agree(json.dumps(fields | {"observations": fields["observations"] * count}).encode())


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[]", b"[ ]", b"[[]]", b"[{}]", b"{}", b"{}{}", b"\xef\xbb\xbf{}", b"[" * 9_999],
)
def test_what_is_no_body_is_refused_as_by_the_reference(body: bytes) -> None:
    agree(body)


@pytest.mark.parametrize("item", [b"{}", b"[]", b"null", b'"' + bytes(range(97, 123)) * 3 + b'"'])
def test_a_crowd_of_what_is_too_short_is_refused_as_one(item: bytes) -> None:
    few = b",".join([item] * FEW_ITEMS)
    agree(b"[" + few + b"]")
    assert len(pack_json(b"[" + few + b"]").errors) == FEW_ITEMS
    for many in (few + b"," + item, b",".join([few] * 50)):
        agree(b"[" + many + b"]")
        with pytest.raises(MalformedReport, match="few of them can be reports"):
            pack_json(b"[" + many + b"]")


def test_any_number_of_reports_is_taken_and_a_crowd_among_them() -> None:
    good = json.dumps(_fields(), separators=(",", ":")).encode()
    mixed = b",".join([good, b"{}"] * (FEW_ITEMS + 1))
    assert len(pack_json(b"[" + mixed + b"]").places) == FEW_ITEMS + 1


def test_a_report_is_packed_once_wherever_it_stands() -> None:
    good = json.dumps(_fields()).encode()
    bad = good.replace(b'"sequence"', b'"sequence":1,"sequence"')
    for body in (good, b" \n" + good + b"\t", b"[" + good + b"]", b"\x0b" + good, good + b","):
        agree(body)
    for body in (b"[" + good + b"," + bad + b" , " + good + b"]", b"[[" + good + b"]]"):
        agree(body)


@pytest.mark.parametrize("bad", [[0], [39], [16, 17, 31], list(range(0, 40, 3)), list(range(40))])
def test_bad_reports_of_a_long_list_are_named_by_their_places(bad: list[int]) -> None:
    fields = _fields()
    documents = [fields | {"sequence": place} for place in range(40)]
    for place in bad:
        documents[place] = fields | {"sequence": -place - 1}
    agree(json.dumps(documents).encode())


def test_what_is_plainly_good_does_not_go_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = _fields()
    monkeypatch.setattr(json_packing, "report_or_error", None)
    body = json.dumps([fields | {"sequence": number} for number in range(9)]).encode()
    assert len(pack_json(body).places) == 9
