"""The bus on a broker with TLS and passwords.

given a broker that takes SASL_SSL alone
  when the client has the password and the broker's certificate
    frames are appended, read, acknowledged and set aside as on any other
    a relayer takes reports
  when the password is wrong, the certificate is somebody else's, or the client speaks no TLS
    nothing is appended, and the reason is named
    /ready names it, and no secret is shown anywhere
  when the password, or a file with certificates, is changed under way
    clients go on with what the setting has by then, whoever is about to read or append
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from weakref import ref

import pytest
from support.kafka_secure import PASSWORD, SecureKafkaServer, make_certificate
from support.processes import PATIENCE_S, until

from corechain_relayer.bus.kafka import clients
from corechain_relayer.bus.kafka.address import parse_address
from corechain_relayer.bus.kafka.bus import KafkaBus
from corechain_relayer.bus.kafka.link import Link
from corechain_relayer.errors import BusAccessRefused, BusRestarted, BusUnavailable
from relayer.buses import frame, kafka_at, read_all, sequences, session
from relayer.conftest import Start
from relayer.support import Sensor, eventually

WRONG = "not-the-pass-phrase"
Options = Mapping[str, str]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafkaServer]:
    broker = SecureKafkaServer(tmp_path_factory.mktemp("kafka"))
    with broker:
        yield broker
        broker.kill()  # it has nothing to keep


def wrong_password(broker: SecureKafkaServer) -> Options:
    return broker.options(password=WRONG)


def no_security(broker: SecureKafkaServer) -> Options:
    return {}


REFUSED: dict[Callable[[SecureKafkaServer], Options], tuple[type[BusUnavailable], str]] = {
    wrong_password: (BusAccessRefused, "access refused: .*SASL authentication error"),
    no_security: (BusUnavailable, r"connections end without a word, .*security\.protocol"),
}


@pytest.mark.parametrize("options", REFUSED, ids=lambda options: options.__name__)
async def test_who_may_not_is_told_why(
    guarded: SecureKafkaServer, options: Callable[[SecureKafkaServer], Options]
) -> None:
    kind, said = REFUSED[options]
    async with kafka_at(guarded.url, options=options(guarded)) as bus:
        refusal = await named(bus, said)
        assert type(refusal) is kind
        assert WRONG not in str(refusal)
        with pytest.raises(BusRestarted):  # no lane was ever entered
            await bus.append(0, frame(1))


async def named(bus: KafkaBus, said: str) -> BusUnavailable:
    """Asks until that is why: at first a busy broker may only be late."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with pytest.raises(BusUnavailable) as refused:
                await bus.enter(0)
            if re.search(said, str(refused.value)):
                return refused.value


async def test_frames_go_all_their_ways_by_the_password_and_certificate_of_now(
    guarded: SecureKafkaServer, tmp_path: Path
) -> None:
    ca, user = tmp_path / "ca.pem", "mover"
    make_certificate(tmp_path, "stranger")[0].rename(ca)
    guarded.let_in(user, PASSWORD)
    given = guarded.options(ca=ca, user=user)
    now = [given]
    async with kafka_at(f"{guarded.url}-moves", options=given, again=lambda: now[0]) as bus:
        refusal = await named(bus, "access refused: .*certificate verify failed")
        assert type(refusal) is BusAccessRefused
        certificate = guarded.certificate.read_bytes()
        ca.unlink()
        assert not await works(bus.enter(0))
        ca.write_bytes(certificate[:200])
        assert not await works(bus.enter(0))
        ca.write_bytes(certificate)
        await until(lambda: works(bus.enter(0)))
        async with session(bus) as consumer:
            for sequence in (1, 2, 3):
                await bus.append(0, frame(sequence))
            first, second, _ = await read_all(consumer, 3)
            await consumer.ack([first.id])
            await consumer.set_aside(second, "UnknownDevice")
            letters = [letter.reason async for page in bus.dead_letters(0) for letter in page]
            assert (await bus.depth(), letters) == (1, ["UnknownDevice"])
            guarded.let_in(user, WRONG)
            await until(lambda: is_refused(bus))
            now[0] = {"half": "written"}
            assert await is_refused(bus)
            now[0] = guarded.options(WRONG, ca, user)
            await until(lambda: works(bus.append(0, frame(4))))
            with pytest.raises(BusUnavailable):
                await read_all(consumer, 2)
        async with session(bus) as consumer:
            assert sequences(await read_all(consumer, 2)) == [3, 4]


def test_clients_are_made_when_their_files_are_whole_and_ended_when_they_are_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "RETIRED_S", 0.0)
    certificate, ca = make_certificate(tmp_path, "us")[0], tmp_path / "ca.pem"
    options = {"security.protocol": "SSL", "ssl.ca.location": str(ca)}
    link = Link(parse_address("kafka://127.0.0.1:1/x"), options)
    for half in (None, certificate.read_bytes()[:200]):
        if half:
            ca.write_bytes(half)
        with pytest.raises(BusUnavailable, match=r"ssl\.ca\.location"):
            link._admin
    certificate.rename(ca)
    before = ref(link._admin)
    link._renew()
    assert link._admin is not before()
    assert before() is None


async def works(asking: Awaitable[object]) -> bool:
    try:
        await asking
    except BusUnavailable:
        return False
    return True


async def is_refused(bus: KafkaBus) -> bool:
    try:
        await bus.depth()
    except BusAccessRefused:
        return True
    except BusUnavailable:
        return False
    return False


def test_a_relayer_takes_reports_with_the_password_and_names_a_wrong_one(
    guarded: SecureKafkaServer, start: Start, sensor: Sensor, tmp_path: Path
) -> None:
    def written(name: str, password: str) -> Path:
        file = tmp_path / name
        file.touch(0o600)
        lines = guarded.options(password=password).items()
        file.write_text("".join(f"{name}={value}\n" for name, value in lines))
        return file

    def settings(password: str) -> dict[str, str]:
        file = written(password[0], password)
        return {
            "RELAYER_BUS_URL": f"{guarded.url}-relayer",
            "RELAYER_KAFKA_COPIES": "1",
            "RELAYER_KAFKA_OPTIONS_FILE": str(file),
        }

    refused = start("gateway", ready=False, **settings(WRONG))
    gateway = start("gateway", **settings(PASSWORD))
    assert gateway.send(sensor.report()).json()["accepted"] == 1
    eventually(lambda: "access refused: " in refused.reason("bus"))
    assert refused.send(sensor.report()).status_code == 503
    for process in (refused, gateway):
        for shown in (process.get("/ready").text, process.log_path.read_text()):
            assert WRONG not in shown
            assert PASSWORD not in shown
    written(WRONG[0], PASSWORD)
    eventually(lambda: refused.get("/ready").status_code == 200)
    assert refused.send(sensor.report()).status_code == 202
