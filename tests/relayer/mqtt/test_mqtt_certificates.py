"""Certificates of both sides, on a broker that asks for them.

given a broker that takes clients with a certificate of its authority alone
  a client that has one, and trusts the broker's, subscribes
  whoever has none, or another's, or does not trust the broker, hears which setting to change
given a file that is of no use as a certificate
  the setting and the file are named, nobody is asked for a password
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from corechain.devnet.mosquitto import Access, MosquittoServer
from corechain_relayer.mqtt.errors import BrokerRefused
from corechain_relayer.mqtt.packets import Version
from relayer.conftest import Start
from relayer.mqtt.certificates import Authority
from relayer.mqtt.links import linked, opening
from relayer.support import eventually

SECRET = b"a secret that nobody prints"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def mutual(authority: Authority) -> Iterator[MosquittoServer]:
    certificate, key = authority.issue("broker")
    access = Access(certificate=certificate, key=key, client_ca=authority.path)
    with MosquittoServer(authority.folder / "data", access=access) as server:
        yield server


@pytest.mark.parametrize("version", list(Version))
async def test_with_a_certificate_of_the_brokers_authority_it_subscribes(
    version: Version, mutual: MosquittoServer, authority: Authority
) -> None:
    _, own = authority.issue(f"relayer-{version}")
    async with linked(mutual.url, opening(version), ["x"], authority.path, own):
        pass


async def test_without_a_certificate_the_setting_is_named(
    mutual: MosquittoServer, authority: Authority
) -> None:
    with pytest.raises(BrokerRefused, match=r"wants one.*set RELAYER_MQTT_CERTIFICATE"):
        async with linked(mutual.url, opening(), ["x"], authority.path):
            pass


async def test_with_a_certificate_of_somebody_elses_the_setting_is_named(
    mutual: MosquittoServer, authority: Authority, stranger: Authority
) -> None:
    _, foreign = stranger.issue("relayer")
    with pytest.raises(BrokerRefused, match=r"does not take.*set RELAYER_MQTT_CERTIFICATE"):
        async with linked(mutual.url, opening(), ["x"], authority.path, foreign):
            pass


async def test_a_broker_that_nobody_we_trust_has_signed_is_named_with_the_setting(
    mutual: MosquittoServer, authority: Authority, stranger: Authority
) -> None:
    _, own = authority.issue("relayer")
    with pytest.raises(BrokerRefused, match=r"certificate verify failed.*set RELAYER_MQTT_CA"):
        async with linked(mutual.url, opening(), ["x"], stranger.path, own):
            pass


async def test_files_that_are_no_certificates_are_named(
    mutual: MosquittoServer, authority: Authority, tmp_path: Path
) -> None:
    certificate, _ = authority.issue("without-key")
    _, locked = authority.issue("locked", SECRET)
    (tmp_path / "empty").touch()
    for own in (certificate, locked, tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(BrokerRefused, match="RELAYER_MQTT_CERTIFICATE is of no use"):
            async with linked(mutual.url, opening(), ["x"], authority.path, own):
                pass
    for ca in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(BrokerRefused, match="RELAYER_MQTT_CA is of no use"):
            async with linked(mutual.url, opening(), ["x"], ca):
                pass


def test_a_relayer_without_a_certificate_says_so_in_ready(
    start: Start, mutual: MosquittoServer, authority: Authority
) -> None:
    relayer = start(
        "mqtt",
        ready=False,
        RELAYER_MQTT_URL=mutual.url,
        RELAYER_MQTT_CA=str(authority.path),
    )
    eventually(lambda: "set RELAYER_MQTT_CERTIFICATE" in relayer.reason("mqtt"))
    assert relayer.get("/health").status_code == 200
