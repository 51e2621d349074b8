"""Reports that are nearly one: JSON, readings and signatures that some library would let pass.

The catalogue of requests that are refused for their shape is in test_bad_input.py.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest
from support.processes import PATIENCE_S

from corechain.protocol.eip712 import registry_domain
from corechain.protocol.hashing import keccak
from corechain.protocol.reading import SignedReport
from corechain.protocol.report_json import report_to_json
from corechain.protocol.signature import SECP256K1_ORDER
from relayer.conftest import Start
from relayer.support import PACKED, Chain, RelayerProcess, Sensor, p256
from relayer.test_bad_input import (
    REJECTED,
    Bad,
    as_json,
    check,
    observed,
    text,
    with_observation,
)

HALF_ORDER = SECP256K1_ORDER // 2
LIMIT = "1048576"
ERRORS = (
    *("MalformedReport", "ValueOutOfRange", "UnknownMetric", "FutureTimestamp"),
    *("InvalidSignature", "HighS", "WrongChain"),
)


def malformed(case: str, body: bytes) -> Bad:
    return Bad(case, body, "MalformedReport", 400)


def out_of_range(case: str, body: bytes) -> Bad:
    return Bad(case, body, "ValueOutOfRange", 422)


def raw(sensor: Sensor, field: str, value: str) -> bytes:
    """A JSON report with this text as the value of a field."""
    return text(as_json(sensor, **{field: "PLACE"})).replace(b'"PLACE"', value.encode())


def json_forms(sensor: Sensor) -> Iterator[Bad]:
    good = text(as_json(sensor))
    yield malformed("a byte order mark", b"\xef\xbb\xbf" + good)
    yield malformed("bytes behind the end", good + b"x")
    yield malformed("two documents", good + good)
    yield malformed("a comment", good.replace(b"{", b"{/* */", 1))
    yield malformed("single quotes", good.replace(b'"', b"'"))
    yield malformed("a comma at the end", good[:-1] + b",}")
    yield malformed("UTF-16", good.decode().encode("utf-16-le"))
    yield malformed("a lone surrogate", raw(sensor, "device", '"\\ud800"'))
    yield malformed("an escaped NUL", raw(sensor, "device", '"\\u0000"'))
    yield malformed("an escaped key", good.replace(b'"sequence"', b'"\\u0073equence"'))
    yield malformed("two spellings of a key", good.replace(b"{", b'{"Sequence": 1, ', 1))
    yield malformed("a thousand empty reports", b"[" + b",".join([b"{}"] * 1_000) + b"]")
    yield malformed("observations in a list too deep", raw(sensor, "observations", "[[{}]]"))
    yield malformed("a value in a list", with_observation(sensor, "value", '["NaN"]'))
    for value in ("[[NaN]]", '{"a": [Infinity]}'):
        yield out_of_range(f"a value of {value}", with_observation(sensor, "value", value))
    yield malformed("observations in an object", raw(sensor, "observations", '{"0": {}}'))


def crowds() -> Iterator[Bad]:
    """Lists of what is far too short to be reports: no item of them is judged for itself."""
    for item in (b"[]", b"{}", b"null", text({"device": "0" * 70})):
        many = min(300_000, int(LIMIT) // (len(item) + 1) - 1)
        yield malformed(f"{many} times {item[:9]!r}", b"[" + b",".join([item] * many) + b"]")


def json_numbers(sensor: Sensor) -> Iterator[Bad]:
    for value in ('"7"', "true", "null", "[7]", "0x7", "07", "+7", "1_000", "٧", '"١٢٣"'):
        yield malformed(f"sequence {value}", raw(sensor, "sequence", value))
    for value in ("-1", "7.0", "1e3", "18446744073709551616", "-0.0"):
        yield out_of_range(f"sequence {value}", raw(sensor, "sequence", value))
    yield out_of_range("a value of 4,301 digits", with_observation(sensor, "value", "9" * 4301))
    yield out_of_range("a value of minus zero", with_observation(sensor, "value", "-0.0"))
    for metric in ('"1_3"', '"٣"', '" 1"', '"AIR_TEMPERATURE"', '"air_temperature\u200b"', "0"):
        body = with_observation(sensor, "metric", metric)
        yield Bad(f"metric {metric}", body, "UnknownMetric", 422)
    yield malformed("metric 1.0", with_observation(sensor, "metric", "1.0"))


def hexadecimal(sensor: Sensor) -> Iterator[Bad]:
    device = report_to_json(sensor.report())["device"]
    assert isinstance(device, str)
    digits = device[2:]
    forms = {
        "0X": "0X" + digits,
        "no 0x": digits,
        "a digit too few": device[:-1],
        "a space inside": f"0x{digits[:2]} {digits[3:]}",
        "a line feed behind": device[:-1] + "\\n",
        "a Cyrillic a": device[:-1] + "а",
        "a digit of no width": device + "\u200b",
        "wide digits": "0x" + "０" * 40,
        "written from right to left": "\u202e" + device,
        "emoji": "🌡" * 42,
        "written twice": "0x" + device.encode().hex(),
        "a million digits": "0x" + "0" * 1_000_000,
        "nothing": "",
    }
    for case, form in forms.items():
        yield malformed(f"device: {case}", raw(sensor, "device", f'"{form}"'))
    for case, form in {"signs": "+7", "spaces": " 72a1072bffffff"}.items():
        yield malformed(f"cell: {case}", with_observation(sensor, "cell", f'"{form}"'))


def chains(sensor: Sensor) -> Iterator[Bad]:
    """What a report says it was made for, as only a lax decoder reads it."""
    ours = sensor.domain.chain_id
    for chain in (str(ours), float(ours), True, [ours], {"id": ours}):
        yield malformed(f"chain {chain!r}", text(as_json(sensor, chain_id=chain)))
    yield Bad("chain -1", text(as_json(sensor, chain_id=-1)), "WrongChain", 421)
    registry = "0x" + sensor.domain.contract.hex()
    for form in (registry[2:], registry[:-1], "0X" + registry[2:], registry + " ", registry + "00"):
        yield malformed(f"registry {form!r}", text(as_json(sensor, registry=form)))


def times(sensor: Sensor) -> Iterator[Bad]:
    for at in (-1, 2**53, 2**63, 2**64, int(time.time() * 1000)):
        yield out_of_range(f"time {at}", with_observation(sensor, "observed_at", str(at)))
    for at in (2**32, 2**40 - 1):
        body = observed(sensor, observed_at=at)
        yield Bad(f"time {at}", body, "FutureTimestamp", 422, PACKED)


def signed_otherwise(sensor: Sensor, chain: Chain) -> Iterator[Bad]:
    """By the device's own key, or another's, over something else."""
    contract = chain.deployment.address("DataBatches")
    other = Sensor(sensor.key, registry_domain(chain.domain.chain_id, contract), 900)
    yield Bad("another contract", other.report().pack(), "InvalidSignature", 403, PACKED)
    honest = sensor.report()
    personal = b"\x19Ethereum Signed Message:\n32" + keccak(honest.report.body())
    digests = {"a personal message": keccak(personal), "raw bytes": keccak(honest.report.body())}
    found = {case: sensor.key.sign(digest) for case, digest in digests.items()}
    found["a P-256 key"] = p256(5).sign(keccak(b"anything"))
    found["the report before"] = sensor.report().signature
    for case, signature in found.items():
        forged = SignedReport(honest.report, signature).pack()
        yield Bad(case, forged, "InvalidSignature", 403, PACKED)


def numbers_of_signatures(sensor: Sensor) -> Iterator[Bad]:
    """r and s at the ends of what they may be."""
    honest = sensor.report()
    r, s = honest.signature[:32], honest.signature[32:]
    zero, order = bytes(32), SECP256K1_ORDER.to_bytes(32, "big")
    above = (HALF_ORDER + 1).to_bytes(32, "big")
    pairs = {
        "zeros": (zero + zero, "InvalidSignature"),
        "r zero": (zero + s, "InvalidSignature"),
        "s zero": (r + zero, "InvalidSignature"),
        "r the order": (order + s, "InvalidSignature"),
        "r all ones": (b"\xff" * 32 + s, "InvalidSignature"),
        "s above half the order": (r + above, "HighS"),
        "s all ones": (r + b"\xff" * 32, "HighS"),
        "the other parity": (r + bytes([s[0] ^ 0x80]) + s[1:], "InvalidSignature"),
    }
    for case, (signature, error) in pairs.items():
        body = SignedReport(honest.report, signature).pack()
        yield Bad(case, body, error, 403, PACKED)


def lengths_of_signatures(sensor: Sensor) -> Iterator[Bad]:
    document = as_json(sensor)
    digits = document["signature"][2:]
    for v in (0, 1, 26, 29, 35, 37, 255):
        form = document | {"signature": f"0x{digits}{v:02x}"}
        yield Bad(f"v of {v}", text(form), "InvalidSignature", 403)
    for form in (
        "",
        "0x",
        "0x00",
        "0x" + digits[2:],
        "0x" + digits + "1b00",
        digits,
        "0x" + "z" * 128,
        "0X" + digits,
        "0x" + digits[:-1],
        "0x" + digits[:-2] + " 1",
        "0x" + digits.encode().hex(),
        "0x" + digits[:64],
    ):
        yield malformed(f"a signature {form[:8]!r}", text(document | {"signature": form}))


def accepted(sensor: Sensor) -> Iterator[tuple[str, bytes, str]]:
    """What is odd and right: refused, a device would be told a falsehood."""
    document = as_json(sensor)
    upper = {"device": "0x" + document["device"][2:].upper()}
    yield "capital digits", text(document | upper), "application/json"
    yield "a gap of sequences", sensor.report(sequence=1_000).pack(), PACKED
    # The rules judge it in its batch, where it stands with its reason.
    yield "colder than can be", observed(sensor, value=-30_000), PACKED
    yield "105 % of humidity", observed(sensor, metric=3, value=10_500), PACKED
    named: dict[str, Any] = as_json(sensor)
    for item in named["observations"]:
        item["metric"] = "air_temperature"
    yield "a metric's name", text(named), "Application/JSON; charset=utf-8"


def refuse_all(gateway: RelayerProcess, cases: Iterable[Bad], client: httpx.Client) -> None:
    """Each by its name, and all of them counted."""
    counted: Counter[str] = Counter()
    held = {error: gateway.counter(REJECTED, error) for error in ERRORS}
    for bad in cases:
        headers = {"content-type": bad.media_type}
        answer = client.post("/v1/reports", content=bad.body, headers=headers)
        problem = answer.json()
        said = answer.status_code, problem["type"].rpartition(":")[2]
        assert said == (bad.status, bad.error), f"{bad.case}: {answer.text:.300}"
        counted[bad.error] += len(problem.get("results", [None]))
    assert counted.keys() == set(ERRORS)
    for error in ERRORS:
        assert gateway.counter(REJECTED, error) == held[error] + counted[error], error


@pytest.mark.parametrize("changes", [{}, {"CORECHAIN_NATIVE": "0"}], ids=["installed", "pure"])
def test_every_nearly_good_report_is_refused_by_name_and_counted(
    start: Start, sensor: Sensor, chain: Chain, changes: dict[str, str]
) -> None:
    gateway = start("gateway", RELAYER_MAX_BODY_BYTES=LIMIT, **changes)
    groups = (
        *(json_forms, json_numbers, hexadecimal, chains, times),
        *(numbers_of_signatures, lengths_of_signatures),
    )
    cases = [*signed_otherwise(sensor, chain), *(bad for group in groups for bad in group(sensor))]
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S) as client:
        refuse_all(gateway, cases, client)
        for crowd in crowds():
            check(gateway, crowd)
        for case, body, media_type in accepted(sensor):
            answer = client.post("/v1/reports", content=body, headers={"content-type": media_type})
            assert answer.status_code == 202, f"{case}: {answer.text}"
