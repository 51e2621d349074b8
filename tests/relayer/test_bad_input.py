"""Every refusal of the gateway: HTTP status, problem type and counter carry one name."""

import json
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from support.asking import HTTP
from support.processes import PATIENCE_S

from corechain.protocol.eip712 import registry_domain
from corechain.protocol.report_json import report_to_json
from corechain.protocol.signature import P256_ORDER, SECP256K1_ORDER, wallet_signature
from relayer.conftest import Start
from relayer.support import PACKED, Chain, RelayerProcess, Sensor, eventually, secp

BODY_LIMIT = 65_536
REJECTED = "corechain_reports_rejected_total"


@dataclass
class Bad:
    """A request body and what the gateway must say to it."""

    case: str
    body: bytes
    error: str
    status: int
    media_type: str = "application/json"


def as_json(sensor: Sensor, **changes: Any) -> dict[str, Any]:
    return report_to_json(sensor.report()) | changes


def text(document: Any) -> bytes:
    return json.dumps(document).encode()


def observed(sensor: Sensor, **changes: Any) -> bytes:
    sensor.sequence += 1
    item = sensor.observation(**changes)
    return sensor.sign([item], sensor.sequence).pack()


def with_observation(sensor: Sensor, field: str, raw: str) -> bytes:
    """A JSON report whose first observation has this text as the value of a field."""
    document = as_json(sensor)
    document["observations"] = document["observations"][:1]
    document["observations"][0][field] = "PLACE"
    return text(document).replace(b'"PLACE"', raw.encode())


def high_s(sensor: Sensor) -> dict[str, Any]:
    document = as_json(sensor)
    wallet = wallet_signature(bytes.fromhex(document["signature"][2:]))
    s = SECP256K1_ORDER - int.from_bytes(wallet[32:64], "big")
    twisted = wallet[:32] + s.to_bytes(32, "big") + bytes([55 - wallet[64]])
    return document | {"signature": "0x" + twisted.hex()}


def signatures(sensor: Sensor, chain: Chain) -> Iterator[Bad]:
    elsewhere = Sensor(sensor.key, registry_domain(1, chain.domain.contract), 500)
    stranger = Sensor(secp(77), chain.domain)
    revoked = Sensor(secp(78), chain.domain)
    chain.register(revoked.key)
    chain.revoke(revoked.key)
    impostor = Sensor(secp(1), chain.domain, 600)
    forged = impostor.report()
    flipped = forged.signature[:10] + bytes([forged.signature[10] ^ 1]) + forged.signature[11:]
    yield Bad("another chain's domain", elsewhere.report().pack(), "InvalidSignature", 403, PACKED)
    yield Bad("a flipped bit", forged.report.body() + flipped, "InvalidSignature", 403, PACKED)
    yield Bad(
        "v of 29", text(as_json(sensor, signature="0x" + "11" * 64 + "1d")), "InvalidSignature", 403
    )
    yield Bad("high s", text(high_s(sensor)), "HighS", 403)
    yield Bad("a stranger", stranger.report().pack(), "UnknownDevice", 404, PACKED)
    yield Bad("a revoked device", revoked.report().pack(), "RevokedDevice", 403, PACKED)
    yield Bad("another chain", text(as_json(sensor, chain_id=1)), "WrongChain", 421)
    yield Bad(
        "another registry", text(as_json(sensor, registry="0x" + "22" * 20)), "WrongChain", 421
    )


def values(sensor: Sensor) -> Iterator[Bad]:
    now = int(time.time())
    yield Bad(
        "tomorrow", observed(sensor, observed_at=now + 86_400), "FutureTimestamp", 422, PACKED
    )
    yield Bad("1970", observed(sensor, observed_at=0), "TimestampTooOld", 422, PACKED)
    yield Bad("metric 999", observed(sensor, metric=999), "UnknownMetric", 422, PACKED)
    yield Bad("metric name", with_observation(sensor, "metric", '"mood"'), "UnknownMetric", 422)
    for raw in (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "1.5",
        "2147483648",
        "99999999999999999999",
    ):
        yield Bad(f"value {raw}", with_observation(sensor, "value", raw), "ValueOutOfRange", 422)
    yield Bad(
        "a time of 2^40",
        with_observation(sensor, "observed_at", str(2**40)),
        "ValueOutOfRange",
        422,
    )
    yield Bad("a cell of no place", observed(sensor, cell=2**64 - 1), "InvalidCell", 422, PACKED)
    yield Bad("no cell at all", observed(sensor, cell=0), "InvalidCell", 422, PACKED)
    yield Bad(
        "a cell in JSON", with_observation(sensor, "cell", '"872a1072fffffff"'), "InvalidCell", 422
    )
    yield Bad("value true", with_observation(sensor, "value", "true"), "MalformedReport", 400)


def shapes(sensor: Sensor) -> Iterator[Bad]:
    packed = sensor.report().pack()
    repeated = text(as_json(sensor)).replace(b'"sequence"', b'"sequence": 1, "sequence"')
    no_observation = packed[:28] + struct.pack(">H", 0) + packed[-64:]
    too_many = packed[:28] + struct.pack(">H", 1025) + bytes(19 * 1025) + packed[-64:]
    yield Bad("no JSON", b"{", "MalformedReport", 400)
    yield Bad("an empty body", b"", "MalformedReport", 400)
    yield Bad("an empty list", b"[]", "MalformedReport", 400)
    yield Bad("not UTF-8", b'{"device": "\xff"}', "MalformedReport", 400)
    yield Bad("a repeated key", repeated, "MalformedReport", 400)
    yield Bad("a key too many", text(as_json(sensor, extra=1)), "MalformedReport", 400)
    yield Bad("deep nesting", b"[" * 30_000, "MalformedReport", 400)
    yield Bad("nothing packed", b"", "MalformedReport", 400, PACKED)
    yield Bad("a truncated report", packed[:-1], "MalformedReport", 400, PACKED)
    yield Bad("trailing bytes", packed + b"\0", "MalformedReport", 400, PACKED)
    yield Bad("count 0", no_observation, "MalformedReport", 400, PACKED)
    yield Bad("count 1025", too_many, "MalformedReport", 400, PACKED)
    yield Bad("text", b"hello", "UnsupportedMediaType", 415, "text/plain")
    yield Bad("too large", b" " * (BODY_LIMIT + 1), "BodyTooLarge", 413)


def sequences(relayer: RelayerProcess, sensor: Sensor) -> Iterator[Bad]:
    first, ahead = sensor.report(), sensor.report(sequence=9000)
    assert relayer.send(first).status_code == 202
    yield Bad("the same again", first.pack(), "ReplayedSequence", 409, PACKED)
    other = sensor.sign([sensor.observation()], first.report.sequence)
    yield Bad("another one", other.pack(), "ConflictingSequence", 409, PACKED)
    assert relayer.send(ahead).status_code == 202
    for last in (2**64 - 1, 2**64 - 2, 2**62 + 2**33):
        poison = sensor.report(sequence=last)
        yield Bad(f"sequence {last}", poison.pack(), "SequenceOutOfReach", 422, PACKED)
    yield Bad("too far below", sensor.report(sequence=5).pack(), "StaleSequence", 409, PACKED)


def check(relayer: RelayerProcess, bad: Bad) -> None:
    before = relayer.counter(REJECTED, bad.error)
    answer = relayer.post(bad.body, bad.media_type)
    assert answer.status_code == bad.status, f"{bad.case}: {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json", bad.case
    problem = answer.json()
    assert problem["type"] == f"urn:corechain:error:{bad.error}", f"{bad.case}: {problem}"
    assert problem["status"] == bad.status, bad.case
    assert problem["title"], bad.case
    assert relayer.counter(REJECTED, bad.error) == before + 1, bad.case


def test_every_bad_request_is_refused_by_name_and_counted(
    start: Start, sensor: Sensor, chain: Chain
) -> None:
    relayer = start("gateway", RELAYER_MAX_BODY_BYTES=str(BODY_LIMIT))
    cases = [*signatures(sensor, chain), *values(sensor), *shapes(sensor)]
    for bad in cases:
        check(relayer, bad)
    for bad in sequences(relayer, sensor):
        check(relayer, bad)
    assert relayer.send(sensor.report(sequence=9001)).status_code == 202


def test_a_p256_signature_with_high_s_is_refused(
    relayer: RelayerProcess, secure_sensor: Sensor
) -> None:
    report = secure_sensor.report()
    s = P256_ORDER - int.from_bytes(report.signature[32:], "big")
    body = report.report.body() + report.signature[:32] + s.to_bytes(32, "big")
    check(relayer, Bad("high s", body, "HighS", 403, PACKED))


def test_a_full_bus_refuses_before_it_acknowledges(start: Start, sensor: Sensor) -> None:
    relayer = start("gateway", RELAYER_BUS_MAX_FRAMES="2")
    assert relayer.send(sensor.report()).status_code == 202
    assert relayer.send(sensor.report()).status_code == 202
    late = sensor.report()
    answer = relayer.send(late)
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:corechain:error:Overloaded"
    assert int(answer.headers["retry-after"]) > 0
    start("aggregator", RELAYER_BUS_MAX_FRAMES="2")
    eventually(
        lambda: relayer.send(late).status_code != 503,
    )
    # Never told that it was delivered before it was: now it is a replay of itself.
    assert relayer.send(late).json()["type"] == "urn:corechain:error:ReplayedSequence"


def test_reports_that_fail_for_different_reasons_are_told_one_by_one(
    relayer: RelayerProcess, sensor: Sensor, chain: Chain
) -> None:
    stranger = Sensor(secp(77), chain.domain)
    bad = [report_to_json(stranger.report()), as_json(sensor, chain_id=5), {"what": 1}]
    answer = relayer.post(text(bad))
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 0
    errors = [entry["error"] for entry in answer.json()["results"]]
    assert errors == ["UnknownDevice", "WrongChain", "MalformedReport"]
    assert answer.json()["results"][2]["device"] is None


def test_reports_that_all_fail_for_one_reason_are_one_problem(
    relayer: RelayerProcess, chain: Chain
) -> None:
    stranger = Sensor(secp(77), chain.domain)
    answer = relayer.send(stranger.report(), stranger.report())
    assert answer.status_code == 404
    assert len(answer.json()["results"]) == 2


def test_a_sequence_twice_in_one_request_counts_once(
    relayer: RelayerProcess, sensor: Sensor
) -> None:
    report = sensor.report()
    answer = relayer.send(report, report)
    assert [entry["status"] for entry in answer.json()["results"]] == ["accepted", "rejected"]
    assert answer.json()["results"][1]["error"] == "ReplayedSequence"


def raw_request(relayer: RelayerProcess, request: bytes, more: bytes = b"") -> bytes:
    """Bytes on a socket, as no client library would send them; the start of the answer."""
    address = urlsplit(relayer.url)
    with socket.create_connection(
        (address.hostname, address.port), timeout=PATIENCE_S
    ) as connection:
        connection.sendall(request)
        connection.sendall(more)
        return connection.recv(4096)


def test_a_body_without_a_declared_length_is_cut_at_the_limit(start: Start) -> None:
    relayer = start("gateway", RELAYER_MAX_BODY_BYTES=str(BODY_LIMIT))
    head = (
        b"POST /v1/reports HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    answer = raw_request(relayer, head, chunk * 3)  # no last chunk: the body has no end
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_that_never_ends_is_given_up(start: Start) -> None:
    relayer = start("gateway", RELAYER_BODY_TIMEOUT_S="0.3")
    head = (
        b"POST /v1/reports HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 100\r\n\r\n{"
    )
    assert raw_request(relayer, head).startswith(b"HTTP/1.1 408")


def test_a_compressed_body_is_not_unpacked(relayer: RelayerProcess) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = HTTP.post(f"{relayer.url}/v1/reports", content=b"\x1f\x8b", headers=headers)
    assert answer.status_code == 415


MISSING = {
    "GET /v1/data/..%2f..%2fsecret": (404, "NotFound"),
    "GET /v1/data/" + "ab" * 26: (404, "UnknownDataFile"),
    "GET /v1/data/xyz": (404, "UnknownDataFile"),
    "GET /v1/batches/1": (404, "UnknownBatch"),
    "GET /v1/batches/999999999999999999999": (404, "UnknownBatch"),
    "GET /v1/batches/one": (404, "UnknownBatch"),
    "GET /v1/devices/0x12/sequence": (400, "MalformedReport"),
    "GET /v1/devices/0x" + "12" * 20 + "/sequence": (404, "UnknownDevice"),
    "GET /nowhere": (404, "NotFound"),
    "POST /v1/reports/": (404, "NotFound"),
    "POST /v1//reports": (404, "NotFound"),
    "POST /V1/reports": (404, "NotFound"),
    "OPTIONS /v1/nowhere": (404, "NotFound"),
    "GET /v1/reports": (405, "MethodNotAllowed"),
    "DELETE /v1/batches/1": (405, "MethodNotAllowed"),
    "GET /" + "a" * 65_000: (404, "NotFound"),
}


def test_what_is_not_there_is_refused_by_name_and_counted(relayer: RelayerProcess) -> None:
    for asked, (status, error) in MISSING.items():
        method, _, path = asked.partition(" ")
        before = relayer.counter(REJECTED, error)
        answer = HTTP.request(method, relayer.url + path)
        problem = answer.json()
        said = answer.status_code, problem["type"].rpartition(":")[2], problem["status"]
        assert said == (status, error, status), f"{asked:.60}: {answer.text}"
        assert ("allow" in answer.headers) == (status == 405), f"{asked:.60}"
        assert relayer.counter(REJECTED, error) == before + 1, f"{asked:.60}"


TAKEN = {
    "/v1/reports": "OPTIONS, POST",
    "/v1/devices/0x12/sequence": "GET, HEAD, OPTIONS",
    "/v1/data/xyz": "GET, HEAD, OPTIONS",
    "/v1/batches/1": "GET, HEAD, OPTIONS",
    "/health": "GET, HEAD, OPTIONS",
    "/ready": "GET, HEAD, OPTIONS",
    "/metrics": "GET, HEAD, OPTIONS",
}


def test_every_path_says_which_methods_it_takes(relayer: RelayerProcess) -> None:
    for path, methods in TAKEN.items():
        before = relayer.counter(REJECTED, "MethodNotAllowed")
        answer = HTTP.request("OPTIONS", relayer.url + path)
        assert (answer.status_code, answer.content) == (204, b""), path
        assert answer.headers["allow"] == methods
        assert relayer.counter(REJECTED, "MethodNotAllowed") == before
        refused = HTTP.request("DELETE", relayer.url + path)
        assert (refused.status_code, refused.headers["allow"]) == (405, methods)


# What the server refuses before the application hears of it.
NO_REQUESTS = {
    b"GET /" + b"a" * 65_537 + b" HTTP/1.1\r\nhost: x\r\n\r\n": (414, "TargetTooLong"),
    b"GARBAGE\r\n\r\n": (400, "MalformedHttp"),
    b"\x16\x03\x01\x02\x00\x01": (400, "MalformedHttp"),
    b"GET /ready HTTP/1.1\r\nhost: x\r\n" + b"x-a: b\r\n" * 100 + b"\r\n": (431, "HeadTooLarge"),
}


def test_what_is_no_request_is_refused_by_name_and_counted(relayer: RelayerProcess) -> None:
    for sent, (status, error) in NO_REQUESTS.items():
        before = relayer.counter(REJECTED, error)
        head, _, body = raw_request(relayer, sent).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), sent[:40]
        assert b"application/problem+json" in head, sent[:40]
        assert json.loads(body)["type"] == f"urn:corechain:error:{error}", sent[:40]
        assert relayer.counter(REJECTED, error) == before + 1, sent[:40]
