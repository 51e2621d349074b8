"""Uplinks of LoRaWAN devices through the broker of their network server, into the bridge's queue.

given stations whose network servers publish on a broker
  their uplinks are signed and queued, and acknowledged then
  one with a `traceparent` (a user property of MQTT 5) waits with its trace, and is a span of it
  when a message is bad
    it is counted by its name and acknowledged; the next is taken
  when the queue is full
    what comes waits at the broker, in order, and /ready says why
  when a message was taken, and not acknowledged
    it comes again, and is there once
  when the bridge is killed in the middle
    each message is there once
  when the broker is away, or does not take us
    /ready says so, with the setting to change; the bridge goes on by itself
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.processes import PATIENCE_S, until

from corechain.devnet.servers import Server
from corechain.protocol.reading import unpack_report
from corechain.service.supervision import stop_all
from corechain_relayer.bridge.store import BridgeStore
from corechain_relayer.bridge.uplinks import MISTAKES, Uplinks
from relayer.bridges import KeptSpans, Stage
from relayer.mqtt.conftest import AVAILABLE
from relayer.mqtt.devices import CLIENT, FOLLOWED, Station
from relayer.mqtt.links import scripted

TESTS = Path(__file__).resolve().parents[2]
DEV_EUI, OTHER_EUI = "0004A30B001C0530", "0101010101010101"
START = int(time.time()) - 86_400


def ttn(at: int, celsius: float = 20.0, dev_eui: str = DEV_EUI) -> bytes:
    """An uplink as The Things Stack publishes it."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.9Z", time.gmtime(at))
    ids = {"device_id": "roof", "dev_eui": dev_eui}
    uplink = {"received_at": stamp, "decoded_payload": {"temperature": celsius}}
    return json.dumps({"end_device_ids": ids, "uplink_message": uplink}).encode()


def chirpstack(at: int, celsius: float = 20.0) -> bytes:
    """An uplink as ChirpStack publishes it."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at))
    info = {"deviceInfo": {"devEui": OTHER_EUI}, "time": stamp}
    return json.dumps(info | {"data": "qg==", "object": {"temperature_1": celsius}}).encode()


@dataclass
class Field:
    """A bridge with stations of two network servers, and the broker that these publish on."""

    stage: Stage
    port: int
    prefix: str
    version: str
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    store: BridgeStore = field(init=False)
    """Another connection to the bridge's file, as a command has: its own belongs to its thread."""

    def __post_init__(self) -> None:
        self.store = BridgeStore(self.stage.bridge.settings.data_dir, 10**6)

    async def publish(self, *messages: tuple[str, bytes], **properties: object) -> None:
        """The broker has them when it returns. Topics below the prefix of the test; `properties` of
        MQTT 5."""

        def send() -> None:
            with Station(self.port, f"{self.prefix}/x", "server", self.version) as server:
                for topic, body in messages:
                    server.post(body, f"{self.prefix}/{topic}", **properties)

        await asyncio.to_thread(send)

    def queued(self) -> list[tuple[int, int]]:
        """(time, value) of all observations that wait for the gateway, in order."""
        packed = [item.report for item in self.store.head(10**9)]
        reports = [unpack_report(one)[0].report for one in packed]
        return [(o.observed_at, o.value) for report in reports for o in report.observations()]

    async def has(self, count: int) -> None:
        await until(lambda: len(self.queued()) >= count and "bridge_mqtt_held 0.0" in self.metrics)

    @property
    def metrics(self) -> str:
        return self.stage.metrics()

    def refused(self, kind: str, reason: str) -> int:
        head = f'uploads_refused_total{{format="{kind}",reason="{reason}"}} '
        _, _, rest = self.metrics.partition(head)
        return int(float(rest.partition("\n")[0] or 0))

    async def ready(self) -> dict[str, object]:
        async with self.stage.client() as client:
            found: dict[str, object] = (await client.get("/ready")).json()
            return found


ROOF, CELLAR = (
    "v3/weather@ttn/devices/roof/up",
    f"application/17d0/device/{OTHER_EUI}/event/up",
)


def filters(prefix: str) -> str:
    return f"{prefix}/v3/#,{prefix}/application/+/device/+/event/up"


def with_stations(stage: Stage) -> Stage:
    stage.station("roof", "ttn", identity=DEV_EUI)
    stage.station("cellar", "chirpstack", identity=OTHER_EUI)
    stage.station("yard", "ecowitt")
    return stage


@asynccontextmanager
async def running(
    folder: Path, url: str, version: str, prefix: str, **changes: object
) -> AsyncIterator[Field]:
    """A bridge that takes from a broker."""
    settings = {
        "mqtt_url": url,
        "mqtt_version": version,
        "mqtt_topics": filters(prefix),
        "mqtt_client_id": prefix.replace("/", "-"),
    }
    stage = with_stations(Stage.at(folder, **settings | changes))
    port = int(url.rpartition(":")[2])
    found = Field(stage, port, prefix, version)
    found.tasks = [asyncio.create_task(loop) for loop in stage.bridge.loops()]
    try:
        yield found
    finally:
        await stop_all(found.tasks)
        await stage.bridge.close()
        found.store.close()


@pytest.fixture
async def bridge(tmp_path: Path, broker: Server, version: str, prefix: str) -> AsyncIterator[Field]:
    async with running(tmp_path, broker.url, version, prefix) as found:
        await until(lambda: "bridge_mqtt_subscribed 1.0" in found.metrics)
        yield found


@pytest.mark.parametrize("choice", AVAILABLE, ids="-".join)
async def test_uplinks_of_both_network_servers_are_signed_and_queued(bridge: Field) -> None:
    traces = bridge.stage.bridge.metrics.traces = KeptSpans()
    has_properties = bridge.version == "5"
    await bridge.publish((ROOF, ttn(START, -1.5)), **(FOLLOWED if has_properties else {}))
    await bridge.publish((CELLAR, chirpstack(START + 1, 21.6)))
    await bridge.has(2)
    assert bridge.queued() == [(START, -150), (START + 1, 2160)]
    # Counted beside the queue, so perhaps after it.
    await until(lambda: 'uploads_total{format="ttn"} 1.0' in bridge.metrics)
    await until(lambda: 'uploads_total{format="chirpstack"} 1.0' in bridge.metrics)
    # The sender finds the trace there, and goes on with it: test_bridge_traces.
    own = [(b"".join(one.context), one.parent, one.name) for one in traces.spans]
    (waiting,) = [item.trace for item in bridge.store.head(9) if item.trace] or [None]
    assert own == ([(waiting, CLIENT.span, "MQTT uplink")] if has_properties else [])
    assert waiting is None or waiting.startswith(CLIENT.trace)


async def test_bad_messages_are_counted_by_name_and_the_next_is_taken(bridge: Field) -> None:
    big = b" " * (bridge.stage.bridge.settings.max_body_bytes + 1)
    huge = b" " * (1 << 20)  # beyond what is even read
    secret = b'{"app_key":"0123456789ABCDEF"'
    with capture_logs() as logs:
        await bridge.publish(
            (ROOF, secret),
            (ROOF, b"\xff\x00"),
            (ROOF, ttn(START, dev_eui="0004A30B001C0599")),
            (ROOF, ttn(60)),
            ("v3/weather@ttn/devices/other/up", ttn(START)),
            ("v3/weather@ttn/devices/roof/join", ttn(START)),
            (ROOF, big),
            (ROOF, huge),
            (ROOF, ttn(START)),
        )
        await bridge.has(1)
    # A clock at 1970 is a gateway's: the time of receipt stands in for it.
    assert [value for _, value in bridge.queued()] == [2000]
    expected = {
        ("ttn", "MalformedUpload"): 2,
        ("ttn", "UnknownStation"): 1,
        ("ttn", "ForeignTopic"): 1,
        ("none", "UnknownTopic"): 1,
        ("none", "BodyTooLarge"): 2,
    }
    # What is skipped unread is counted at its end, beside what comes behind it.
    await until(lambda: {key: bridge.refused(*key) for key in expected} == expected)
    assert "0123456789ABCDEF" not in repr(logs)


async def test_a_full_queue_makes_the_broker_wait_and_nothing_is_lost_or_overtaken(
    tmp_path: Path, broker: Server, version: str, prefix: str
) -> None:
    limits = {"max_reports": 2}
    async with running(tmp_path, broker.url, version, prefix, **limits) as bridge:
        await until(lambda: "bridge_mqtt_subscribed 1.0" in bridge.metrics)
        await bridge.publish(*((ROOF, ttn(START + n)) for n in range(6)))
        await until(lambda: "bridge_mqtt_held 4.0" in bridge.metrics)

        async def says_why() -> bool:
            return "mqtt" in str((await bridge.ready()).get("failing"))

        await until(says_why)
        store, seen = bridge.store, []
        while len(seen) < 6:
            await until(store.depth)
            for item in store.head(10):
                seen += [o.observed_at for o in unpack_report(item.report)[0].report.observations()]
                store._query("done", id=item.id)
        assert seen == [START + n for n in range(6)]
        await until(lambda: "bridge_mqtt_held 0.0" in bridge.metrics)
        assert 'reason="Overloaded"' not in bridge.metrics


async def test_a_message_that_was_taken_and_not_acknowledged_comes_again_and_is_there_once(
    bridge: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, interrupted = Uplinks._finish, []

    def interrupt(self: Uplinks, *given: object) -> None:
        if not interrupted:
            interrupted.append(len(bridge.queued()))
            raise OSError("a crash between the disk and the acknowledgement")
        finish(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Uplinks, "_finish", interrupt)
    await bridge.publish((ROOF, ttn(START)))
    await until(lambda: 'skipped_total{format="ttn",reason="Duplicate"} 1.0' in bridge.metrics)
    assert interrupted == [1]
    await bridge.publish((ROOF, ttn(START + 1)))
    await bridge.has(2)
    assert [at for at, _ in bridge.queued()] == [START, START + 1]


async def test_a_message_on_which_we_fail_is_tried_again_then_refused_and_costs_no_other(
    bridge: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, tries = bridge.stage.bridge.store, []
    take = store.take

    def failing(station: object, uploads: list[object], *rest: object) -> object:
        (upload,) = uploads
        if upload.measurements[0].value == 1300:  # type: ignore[attr-defined]
            tries.append(upload)
            raise ZeroDivisionError(f"unlucky: {upload!r}")
        return take(station, uploads, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "take", failing)
    with capture_logs() as logs:
        await bridge.publish(*((ROOF, ttn(START + n, 12.0 + n)) for n in range(3)))
        await bridge.has(2)
    assert [value for _, value in bridge.queued()] == [1200, 1400]
    await until(lambda: bridge.refused("ttn", "Internal") == 1)
    assert len(tries) >= MISTAKES
    assert "message failed" in repr(logs)
    assert "Measurement(" not in repr(logs)


@contextmanager
def child(folder: Path, *words: str) -> Iterator[None]:
    """A bridge as a process of its own, killed at the end."""
    command = [sys.executable, "-m", "relayer.bridge_mqtt_child", str(folder), *words]
    log = folder / "child.log"
    with log.open("ab") as said:
        process = subprocess.Popen(command, stderr=said, env={"PYTHONPATH": str(TESTS)}, cwd=TESTS)
        try:
            yield
        finally:
            process.kill()
            process.wait(PATIENCE_S)


MESSAGES = 60


async def test_a_bridge_that_is_killed_takes_each_message_once(
    tmp_path: Path, broker: Server, version: str, prefix: str
) -> None:
    words = (broker.url, version, filters(prefix), prefix.replace("/", "-"))
    stage = with_stations(Stage.at(tmp_path))
    found = Field(stage, broker.port, prefix, version)
    # The broker keeps messages for a session that it knows: the bridge has to have been there.
    with child(tmp_path, *words):
        while not found.queued():
            await found.publish((ROOF, ttn(START - 1)))
        publishing = asyncio.create_task(
            found.publish(*((ROOF, ttn(START + n)) for n in range(MESSAGES)))
        )
        await until(lambda: len(found.queued()) > MESSAGES // 4)
    await publishing
    with child(tmp_path, *words):
        await until(lambda: len(found.queued()) > MESSAGES)
    assert [at for at, _ in found.queued()] == [START - 1, *(START + n for n in range(MESSAGES))]
    await stage.bridge.close()
    found.store.close()


@dataclass
class Gate:
    """A way to a broker that a test opens; while it is closed, it hangs up."""

    broker_port: int
    is_open: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.close()
            return
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
        await asyncio.gather(pumped(reader, other_writer), pumped(other_reader, writer))


async def pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
    writer.close()


async def test_a_broker_that_is_away_is_in_ready_and_taken_from_when_it_is_there(
    tmp_path: Path, broker: Server, version: str, prefix: str
) -> None:
    gate = Gate(broker.port)
    async with await asyncio.start_server(gate.serve, "127.0.0.1", 0) as way:
        url = f"mqtt://127.0.0.1:{way.sockets[0].getsockname()[1]}"
        async with running(tmp_path, url, version, prefix) as bridge:
            await until(lambda: "mqtt" in bridge.stage.bridge.supervised.unwell())
            async with bridge.stage.client() as client:
                path = f"/ecowitt/{bridge.stage.tokens['yard']}"
                assert (await client.post(path, data={"tempf": "50"})).status_code == 200
            gate.is_open = True
            await until(lambda: "bridge_mqtt_subscribed 1.0" in bridge.metrics)
            bridge.port = broker.port
            await bridge.publish((ROOF, ttn(START)))
            await bridge.has(2)


async def test_a_broker_that_refuses_us_names_the_settings_of_the_bridge(
    tmp_path: Path, prefix: str
) -> None:
    not_authorised = b"\x20\x02\x00\x05"
    async with (
        scripted(lambda number: not_authorised) as url,
        running(tmp_path, url, "3.1.1", prefix) as bridge,
    ):
        reasons = bridge.stage.bridge.supervised
        await until(lambda: "BRIDGE_MQTT_PASSWORD" in reasons.unwell().get("mqtt", ""))
        assert "RELAYER" not in reasons.unwell()["mqtt"]
