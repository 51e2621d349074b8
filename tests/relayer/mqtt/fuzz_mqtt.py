"""The long run: so many mutated streams of a broker, through the codec and the handler behind it.

    PYTHONPATH=tests python -m relayer.mqtt.fuzz_mqtt --inputs 1000000

A stream is packets or MalformedPacket; each message in it has verdicts or a typed error, an answer
that is JSON, a count under its name, and is acknowledged. Anything else ends the run. Prints one
JSON line a version.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from random import Random

from msgspec.json import encode

from corechain.protocol.frame import Columns
from corechain.protocol.report_json import report_to_json
from corechain_relayer.gateway.intake import Fault
from corechain_relayer.mqtt import packets
from corechain_relayer.mqtt.decoder import Decoder
from corechain_relayer.mqtt.flow import Held
from corechain_relayer.mqtt.letters import opened
from corechain_relayer.mqtt.link import Link
from corechain_relayer.mqtt.packets import MalformedPacket, Message, Version
from relayer.fuzz_formats import mutated
from relayer.mqtt.devices import name_of
from relayer.mqtt.gateways import DOMAIN, TOPICS, FailingGateway, subscriber_to
from relayer.mqtt.links import link_to, opening
from relayer.support import Sensor, secp

VERSIONS = {"3.1.1": Version.V3_1_1, "5": Version.V5}
MAX_BODY, MAX_PACKET = 600, 700
"""Small, so that streams hold packets above and below them."""


def seeds(version: Version) -> list[bytes]:
    """Packets that a broker sends."""
    sensor = Sensor(secp(1), DOMAIN)
    single, other = sensor.report(), Sensor(secp(2), DOMAIN).report()
    own, shared = f"corechain/v1/reports/{name_of(sensor)}", "corechain/v1/gateways/a"
    listed = encode([report_to_json(one) for one in (single, other)])
    messages = [
        packets.publish(version, 1, own, single.pack()),
        packets.publish(version, 2, own, single.pack() * 2, b"\0\xff", "application/json"),
        packets.publish(version, 3, shared, other.pack() + single.pack()),
        packets.publish(version, 4, shared, listed),
        packets.publish(version, 5, shared, bytes(2 * MAX_PACKET)),
    ]
    of_qos_2 = bytes([packets.PUBLISH | 4]) + messages[0][1:]
    known = b"\x20\x0f\x01\x00\x0c\x21\x00\x14\x26\x00\x01a\x00\x03bcd"
    connected = known if version is Version.V5 else b"\x20\x02\x01\x00"
    subscribed = b"\x90\x04\x00\x01\x00\x01" if version is Version.V5 else b"\x90\x03\x00\x01\x01"
    short = [b"\x40\x02\x00\x01", b"\xd0\x00", b"\x62\x02\x00\x07", connected, subscribed]
    return [*messages, *messages, of_qos_2, *short, b"\xe0\x00"]


def stream(parts: Sequence[bytes], random: Random) -> list[bytes]:
    """A few packets, of which some are mutated, cut into reads."""
    chosen = (random.choice(parts) for _ in range(random.randint(1, 4)))
    data = b"".join(mutated(one, random) if random.random() < 0.6 else one for one in chosen)
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randint(0, 3)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def verdicts(columns: Columns) -> list[Fault]:
    return [None] * len(columns)


def check(message: Message) -> str:
    """What becomes of a message: "accepted", or the name of its first error."""
    letter = opened(Held(message), TOPICS, DOMAIN, MAX_BODY)
    answer = letter.answer(TOPICS)
    if answer is not None:
        document = json.loads(answer.payload)
        assert "results" in document or document["type"].startswith("urn:corechain:error:")
        assert answer.topic.startswith("corechain/v1/answers/")
    if letter.error is None:
        assert letter.intake is not None
        assert len(letter.undecided) == len(letter.intake.columns)
    names = [error.name for error in letter.refusals()]
    return names[0] if names else "accepted"


def messages_of(reads: Sequence[bytes], version: Version) -> tuple[list[Message], bool]:
    """All messages before what is malformed, and whether something is."""
    decoder, found = Decoder(version, MAX_PACKET), list[Message]()
    try:
        for data in reads:
            found += (one for one in decoder.feed(data) if isinstance(one, Message))
    except MalformedPacket:
        return found, True
    return found, False


async def judge(
    reads: Sequence[bytes], version: Version, gateway: FailingGateway
) -> tuple[Counter[str], int]:
    """The outcomes of one stream, and how many messages were taken. Raises what nothing may."""
    messages, is_malformed = messages_of(reads, version)
    told = Counter(map(check, messages))
    told["MalformedPacket"] += is_malformed
    taken: list[Held] = []
    link = Link(link_to("mqtt://x", opening(), []).broker, opening(version), MAX_PACKET, 1 << 20,
                lambda link, held: taken.extend(held))  # fmt: skip
    subscriber = subscriber_to(link, gateway, MAX_BODY)
    for data in reads:
        if not link._ended.is_set():
            link.data_received(data)
    # What came before the connection ended is delivered all the same.
    assert [held.message for held in taken] == messages[: len(taken)]
    await subscriber._take(link, taken)
    assert (len(link.held), link.held.bytes_held) == (0, 0)
    return told, len(taken)


def counted(gateway: FailingGateway) -> float:
    """Messages by their metric, whatever became of them."""
    lines = gateway.metrics.exposition().decode().splitlines()
    mine = (line for line in lines if line.startswith("corechain_mqtt_messages_total{"))
    return sum(float(line.rpartition(" ")[2]) for line in mine)


async def _run(version: Version, inputs: int, random: Random) -> tuple[Counter[str], float]:
    told, gateway, parts = Counter[str](), FailingGateway(verdicts), seeds(version)
    longest, taken = 0.0, 0
    for _ in range(inputs):
        before = time.process_time()
        outcomes, count = await judge(stream(parts, random), version, gateway)
        told.update(outcomes)
        taken += count
        longest = max(longest, time.process_time() - before)
    assert counted(gateway) == taken
    return told, longest


def run(version: str, inputs: int, seed: int) -> dict[str, object]:
    started = time.process_time()
    told, longest = asyncio.run(_run(VERSIONS[version], inputs, Random(f"{version} {seed}")))
    spent = time.process_time() - started
    return {
        "version": version,
        "inputs": inputs,
        "accepted": told.pop("accepted", 0),
        "MalformedPacket": told.pop("MalformedPacket", 0),
        "refused": dict(told.most_common()),
        "us_an_input": round(spent / inputs * 1e6, 1),
        "longest_ms": round(longest * 1e3, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for version in VERSIONS:
        print(json.dumps(run(version, given.inputs, given.seed)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
