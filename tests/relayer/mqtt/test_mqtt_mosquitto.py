"""What only a full broker has: MQTT 5, sessions on disk, passwords, TLS.

given a message with a response topic
  when its reports are accepted
    the answer comes there, with its correlation data
  when the response topic is somebody else's
    the answer comes on the sender's own
given two members of a group
  each message goes to one of them
given messages that were not acknowledged
  when the broker restarts
    they come again
given a broker that does not take us as we are
  the reason says which setting to change
"""

import asyncio
import base64
import hashlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from corechain.devnet.mosquitto import Access, MosquittoServer
from corechain.devnet.servers import Server, ValkeyServer
from corechain_relayer.mqtt.errors import BrokerRefused
from corechain_relayer.mqtt.packets import Version
from relayer.conftest import Start
from relayer.mqtt.certificates import Authority
from relayer.mqtt.conftest import held, settings_of, subscribed
from relayer.mqtt.devices import Station, name_of
from relayer.mqtt.links import linked, opening
from relayer.support import Chain, RelayerProcess, Sensor, eventually
from relayer.test_crash import committed_reports, key_of

USER, PASSWORD = "relayer", "a password: with ümlauts"


def test_an_answer_goes_to_the_response_topic_unless_that_is_somebody_elses(
    taking: RelayerProcess, broker: Server, prefix: str, sensor: Sensor
) -> None:
    with Station(broker.port, prefix, name_of(sensor)) as station:
        mine = f"{station.topic('answers')}/7"
        station.send(sensor.report(), ResponseTopic=mine, CorrelationData=b"\x00\xff")
        answer = station.answer()
        assert (answer.topic, answer.correlation) == (mine, b"\x00\xff")
        assert answer.document["accepted"] == 1
        assert answer.content_type == "application/json"
        for foreign in (f"{prefix}/reports/{station.name}", "$SYS/x", f"{mine}/#"):
            before = len(station.answers)
            station.send(sensor.report(), ResponseTopic=foreign)
            assert station.answer(before + 1).topic == station.topic("answers")


def test_messages_that_were_not_acknowledged_survive_a_restart_of_the_broker(
    start: Start, prefix: str, sensor: Sensor, chain: Chain, tmp_path: Path
) -> None:
    sent = [sensor.report() for _ in range(6)]
    server, bus = MosquittoServer(tmp_path / "mosquitto"), ValkeyServer(tmp_path / "valkey")
    with server, bus:
        relayer = subscribed(start(**settings_of(server, "5", prefix), RELAYER_BUS_URL=bus.url))
        with Station(server.port, prefix, name_of(sensor)) as station:
            eventually(lambda: not relayer.reason("registry"))
            bus.kill()
            for report in sent[:5]:
                station.send(report)
            eventually(lambda: held(relayer) == 5)
            server.stop()
            eventually(lambda: relayer.reason("mqtt").startswith("the broker: "))
            assert relayer.get("/health").status_code == 200
            server.start()
            bus.start()
            subscribed(relayer)
            eventually(station.client.is_connected)
            station.send(sent[5])
        wanted = Counter(map(key_of, sent))
        eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)


# ---------------------------------------------------------------------- connections alone


async def test_members_of_a_group_share_the_messages(
    brokers: dict[str, Server], prefix: str
) -> None:
    server, filters = brokers["mosquitto"], [f"$share/{prefix.replace('/', '-')}/{prefix}/#"]
    one, other = (opening(client_id=f"{prefix}-{number}") for number in (1, 2))
    async with (
        linked(server.url, one, filters) as first,
        linked(server.url, other, filters) as second,
    ):

        def send() -> None:
            with Station(server.port, f"{prefix}/x", "any") as station:
                for number in range(12):
                    station.post(b"%d" % number, f"{prefix}/reports")

        await asyncio.to_thread(send)
        all_there = partial(eventually, lambda: len(first) + len(second) == 12)
        await asyncio.to_thread(all_there)
        payloads = Counter(one.message.payload for one in (*first, *second))
        assert payloads == Counter(b"%d" % number for number in range(12))
        assert first, "one member got nothing"
        assert second, "one member got nothing"


def _hashed(password: str) -> str:
    """As mosquitto_passwd writes it: PBKDF2 with SHA-512."""
    salt = b"twelve bytes"
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoServer]:
    """A broker with TLS, passwords, and an access list."""
    folder = tmp_path_factory.mktemp("guarded")
    users = f"{USER}:{_hashed(PASSWORD)}\nmute:{_hashed('')}\n"
    (folder / "users").write_text(users)
    (folder / "acl").write_text(f"user {USER}\ntopic readwrite open/#\n")
    for name in ("users", "acl"):
        (folder / name).chmod(0o600)
    certificate, key = Authority(folder, "ours").issue("broker")
    access = Access(folder / "users", folder / "acl", certificate, key)
    with MosquittoServer(folder / "data", access=access) as server:
        yield server


@pytest.fixture
def ca(guarded: MosquittoServer) -> Path:
    """Who has signed its certificate."""
    assert guarded.access.certificate is not None
    return guarded.access.certificate.with_name("ours.pem")


@pytest.mark.parametrize("version", list(Version))
async def test_with_the_right_password_over_tls_it_subscribes(
    version: Version, guarded: MosquittoServer, ca: Path
) -> None:
    async with linked(guarded.url, opening(version, user=USER, password=PASSWORD), ["open/#"], ca):
        pass


@pytest.mark.parametrize("version", list(Version))
async def test_a_wrong_password_is_named_with_the_setting(
    version: Version, guarded: MosquittoServer, ca: Path
) -> None:
    wrong = opening(version, user=USER, password="wrong")
    with pytest.raises(BrokerRefused, match=r"(password|authorised).*RELAYER_MQTT_PASSWORD"):
        async with linked(guarded.url, wrong, ["open/#"], ca):
            pass


async def test_a_certificate_that_nobody_we_trust_has_signed_ends_before_the_password(
    guarded: MosquittoServer,
) -> None:
    with pytest.raises(BrokerRefused, match=r"certificate verify failed.*RELAYER_MQTT_CA"):
        async with linked(guarded.url, opening(user=USER, password=PASSWORD), ["open/#"]):
            pass


def test_a_wrong_password_is_in_ready_and_never_the_password_itself(
    start: Start, guarded: MosquittoServer, ca: Path, tmp_path: Path
) -> None:
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text("not the right one\n")
    relayer = start(
        "mqtt",
        ready=False,
        RELAYER_MQTT_URL=f"mqtts://{USER}@127.0.0.1:{guarded.port}",
        RELAYER_MQTT_PASSWORD_FILE=str(tmp_path / "password"),
        RELAYER_MQTT_CA=str(ca),
    )
    eventually(lambda: "RELAYER_MQTT_PASSWORD" in relayer.reason("mqtt"))
    assert relayer.get("/health").status_code == 200
    assert "not the right one" not in relayer.log_path.read_text() + relayer.reason("mqtt")
    (tmp_path / "password").write_text(PASSWORD)
    eventually(lambda: "RELAYER_MQTT_PASSWORD" not in relayer.reason("mqtt"))
