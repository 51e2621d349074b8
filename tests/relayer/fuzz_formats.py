"""The long run: each format reads so many mutated uploads; anything but an upload or a typed
refusal ends it.

    PYTHONPATH=tests python tests/relayer/fuzz_formats.py --inputs 1000000

Prints one JSON line a format: inputs, how many could be read, refusals by name, CPU µs an input,
the longest of all.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from random import Random
from typing import Any

from corechain.protocol.errors import ProtocolError
from corechain_relayer.bridge.formats.archive import rows
from corechain_relayer.bridge.formats.mapping import parse_mapping
from corechain_relayer.bridge.formats.registry import FORMATS
from corechain_relayer.bridge.formats.upload import Arrival, Message, Profile, Upload
from relayer.uploads import (
    AT,
    CLOCK,
    COMMUNITY_CSV,
    CWOP_COMPRESSED,
    PASSKEY,
    SAMPLES,
    STATION_KEY,
    STREAMS,
)

SECRETS = (PASSKEY, STATION_KEY)
I32 = 2**31
PIECES = (
    b"-999", b"1e99", b"1e999", b"NaN", b"null", b"true", b"[]", b"{}", b'""', b"\0", b"\xff",
    b"0001-01-01T00:00:00Z", b"9999-12-31 23:59:59", b"1970-01-01", b"9" * 30, b"-", b".", b"&",
    b"=", b"%00", b"%ff", b"\\ud800", b"\xd9\xa3", b"65535", b"32767", b"[" * 900, b'{"a":' * 300,
    b"\n", b";", b",", b'"', b"_", b"/", b":", b" ", b"@", b"18446744073709551616",
)  # fmt: skip
MAPPED = parse_mapping(
    'time="ts"\nitems="rows"\n[[rule]]\npath="t.0"\nmetric="air_temperature"\nunit="Cel"\n'
    '[[rule]]\npath="rain"\nmetric="precipitation"\nunit="mm"\ncounter=true\nwhen_missing=0\n'
)
ROWS = b'{"rows":[{"ts":"2021-12-24 11:31:57","t":[21.5],"rain":3},{"ts":1640345517000,"t":[2]}]}'
SEEDS: dict[str, list[Message]] = {
    **{name: [message] for name, message in SAMPLES.items()},
    "json": [Message(ROWS)],
    "archive": [Message(b'{"time":"2021-12-24 11:31:57","air_temperature":8.5,"co2":412}')],
}
SEEDS["cwop"].append(Message(CWOP_COMPRESSED))
CSV = "archive-csv"
NAMES = (*SEEDS, CSV)


def mutated(raw: bytes, random: Random) -> bytes:
    """One to four changes: a byte, a piece put in, a stretch left out, doubled, moved, cut off."""
    data = bytearray(raw)
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.choice((1, 1, 2, 4, 16, 64)))
        change = random.randrange(6)
        if change == 0 and start < len(data):
            data[start] = random.randrange(256)
        elif change == 1:
            data[start:start] = random.choice(PIECES)
        elif change == 2:
            del data[start:end]
        elif change == 3:
            data[start:start] = data[start:end]
        elif change == 4:
            data[start:end] = random.choice(PIECES)
        elif random.random() < 0.2:
            del data[start:]
    return bytes(data)


ODD = (
    None, True, -999, 1e300, -0.0, 2**64, 10**30, "", "nan", "-7999", "1e99", [], {}, [[]],
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 0, 253402300799, 1640345517000, "\0", "x" * 200,
)  # fmt: skip


def mutated_json(raw: bytes, random: Random) -> bytes:
    """The same document with one to three places left out, doubled, or holding something odd."""
    document = json.loads(raw)
    for _ in range(random.randint(1, 3)):
        level = document
        while isinstance(level, dict | list) and level:
            key = random.choice(list(level)) if isinstance(level, dict) else 0
            if isinstance(level, list):
                key = random.randrange(len(level))
            if not isinstance(level[key], dict | list) or not level[key] or random.random() < 0.2:
                change_place(level, key, random)
                break
            level = level[key]
    return json.dumps(document).encode()


def change_place(level: Any, key: Any, random: Random) -> None:
    change = random.randrange(4)
    if change == 0:
        del level[key]
    elif change == 1 and isinstance(level, list):
        level.append(deepcopy(level[key]))
    else:
        level[key] = deepcopy(random.choice(ODD))


def mutated_message(name: str, random: Random) -> Message:
    seed = random.choice(SEEDS[name])
    if seed.body[:1] in b"{[" and seed.body and random.random() < 0.7:
        return Message(mutated_json(seed.body, random), seed.query, seed.headers)
    query = seed.query and mutated(seed.query.encode(), random).decode("latin-1")
    body = mutated(seed.body, random) if seed.body else b""
    return Message(body, query, seed.headers)


def check(found: Upload | ProtocolError) -> str:
    """What came of one input, after looking at it closely: "read", or the name of the refusal."""
    if isinstance(found, ProtocolError):
        said = f"{found!s} {found!r}"
        assert not any(secret in said for secret in SECRETS), said
        return found.name
    for metric, at, value in found.measurements:
        assert 1 <= metric <= 13, found
        assert -I32 <= value < I32, found
        assert 0 < at <= AT + 10**3, found
    assert all(0 <= counter.total < I32 for counter in found.counters), found
    return "read"


def judge(name: str, random: Random) -> Iterable[str]:
    """The outcomes of one input (a CSV file has one a row). Raises what no format may raise."""
    zone, elevation = CLOCK, random.choice((None, 0.0, 8848.0, -400.0))
    if name == CSV:
        lines = mutated(COMMUNITY_CSV, random).splitlines(keepends=True)
        try:
            return [check(row) for row in rows(lines, "csv", Profile(elevation_m=elevation), zone)]
        except ProtocolError as error:
            return [check(error)]
    mapping = {"json": MAPPED, "sensorthings": STREAMS_MAPPED}.get(name)
    message = mutated_message(name, random)
    profile = Profile(elevation_m=elevation, mapping=mapping)
    try:
        FORMATS[name].identity(message)
        return [check(FORMATS[name].read(Arrival(message, profile, zone)))]
    except ProtocolError as error:
        return [check(error)]


STREAMS_MAPPED = parse_mapping(STREAMS)


def run(name: str, inputs: int, seed: int) -> dict[str, object]:
    random, told, longest = Random(f"{name} {seed}"), Counter[str](), 0.0
    started = time.process_time()
    for _ in range(inputs):
        before = time.process_time()
        told.update(judge(name, random))
        longest = max(longest, time.process_time() - before)
    spent = time.process_time() - started
    return {
        "format": name,
        "inputs": inputs,
        "read": told.pop("read", 0),
        "refused": dict(told.most_common()),
        "us_an_input": round(spent / inputs * 1e6, 1),
        "longest_ms": round(longest * 1e3, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=NAMES)
    given = parser.parse_args()
    for name in [given.only] if given.only else NAMES:
        print(json.dumps(run(name, given.inputs, given.seed)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
