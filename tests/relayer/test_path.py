"""A reading's way through all roles, on real servers."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from corechain.protocol.batch import open_data_file
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import KeyType
from corechain.protocol.report_json import report_to_json
from corechain_relayer.bus.frame import FrameKeys, Place, open_frame
from relayer.buses import bus_at
from relayer.conftest import Start
from relayer.support import ADMIN, Chain, RelayerProcess, Sensor, eventually, p256, secp


def sealed_on_chain(relayer: RelayerProcess, batch: int) -> dict[str, object]:
    def confirmed() -> dict[str, object] | None:
        """the batch is in a block"""
        answer = relayer.get(f"/v1/batches/{batch}")
        found = answer.json()
        return found if answer.status_code == 200 and found["block"] else None

    return dict(eventually(confirmed))


PURE_PYTHON = {"CORECHAIN_NATIVE": "0"}


@pytest.mark.parametrize("changes", [{}, PURE_PYTHON], ids=["installed", "pure Python"])
def test_reports_of_both_key_types_become_a_committed_batch(
    start: Start, sensor: Sensor, secure_sensor: Sensor, chain: Chain, changes: dict[str, str]
) -> None:
    relayer = start(**changes)
    assert "\ncorechain_native 0.0" in relayer.get("/metrics").text or not changes
    reports = [sensor.report(), secure_sensor.report(3)]
    answer = relayer.send(*reports)
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == 2

    status = sealed_on_chain(relayer, 1)
    assert status["readings"] == 5
    commitment = bytes.fromhex(str(status["commitment"])[2:])
    assert chain.commitments() == {1: commitment}

    file = relayer.get(f"/v1/data/{commitment.hex()}")
    batch, origin = open_data_file(file.content)
    assert batch.commitment == commitment
    assert sorted(r.pack() for r in batch.reports) == sorted(r.pack() for r in reports)
    assert origin.previous == bytes(26)

    tag = file.headers["etag"]
    assert tag == f'"{commitment.hex()}"'
    for held in (tag, f'"a", W/{tag}', "*"):
        again = relayer.get(f"/v1/data/{commitment.hex()}", headers={"if-none-match": held})
        assert (again.status_code, again.content) == (304, b"")
        assert (again.headers["etag"], "immutable" in again.headers["cache-control"]) == (tag, True)
    other = relayer.get(f"/v1/data/{commitment.hex()}", headers={"if-none-match": '"a"'})
    assert (other.status_code, other.content) == (200, file.content)


def test_batches_are_chained_to_their_predecessors(
    relayer: RelayerProcess, sensor: Sensor, chain: Chain
) -> None:
    for number in (1, 2, 3, 4):
        assert relayer.send(sensor.report()).status_code == 202
        sealed_on_chain(relayer, number)
    commitments = chain.commitments()
    files = {n: relayer.get(f"/v1/data/{commitments[n].hex()}").content for n in commitments}
    origins = {n: open_data_file(content)[1] for n, content in files.items()}
    assert [origins[n].previous for n in (2, 3, 4)] == [commitments[n] for n in (1, 2, 3)]
    assert origins[3].ancestor == bytes(26)
    assert origins[4].ancestor == commitments[3]


def test_a_json_report_is_as_good_as_a_packed_one(relayer: RelayerProcess, sensor: Sensor) -> None:
    report = sensor.report()
    answer = relayer.post(msgspec.json.encode(report_to_json(report)))
    assert answer.status_code == 202
    (entry,) = answer.json()["results"]
    device = "0x" + sensor.key.identity.device.hex()
    assert entry == {"device": device, "sequence": 1, "status": "accepted"}
    assert relayer.get(f"/v1/devices/{device}/sequence").json() == {"next": 2}


def test_a_device_is_accepted_right_after_its_registration(
    relayer: RelayerProcess, chain: Chain
) -> None:
    newcomer = Sensor(secp(99), chain.domain)
    assert relayer.send(newcomer.report()).status_code == 404
    chain.register(newcomer.key)
    assert relayer.send(newcomer.report()).status_code == 202


def test_a_device_is_refused_after_its_revocation(
    relayer: RelayerProcess, sensor: Sensor, chain: Chain
) -> None:
    assert relayer.send(sensor.report()).status_code == 202
    chain.revoke(sensor.key)

    def refused() -> bool:
        """a revoked device is refused"""
        return bool(relayer.send(sensor.report()).status_code == 403)

    eventually(refused)


def test_a_device_of_a_fleet_is_as_good_as_a_registered_one(
    relayer: RelayerProcess, chain: Chain
) -> None:
    one, stranger = Sensor(secp(101), chain.domain), Sensor(secp(102), chain.domain)
    others = [secp(n).identity.device for n in range(200, 210)]
    owner = bytes.fromhex(ADMIN[2:])
    devices = [one.key.identity.device, *others]
    chain.enrol(Fleet.of(owner, KeyType.SECP256K1, devices))
    assert relayer.send(stranger.report()).status_code == 404
    assert relayer.send(one.report()).status_code == 202
    assert sealed_on_chain(relayer, 1)["reports"] == 1


def test_a_secure_element_of_a_fleet_counts_once_its_key_is_published(
    relayer: RelayerProcess, chain: Chain
) -> None:
    sensor = Sensor(p256(103), chain.domain)
    identity = sensor.key.identity
    chain.enrol(Fleet.of(bytes.fromhex(ADMIN[2:]), KeyType.P256, [identity.device]))
    assert relayer.send(sensor.report()).status_code == 404
    assert identity.public_key is not None
    chain.publish_keys(identity.public_key)
    assert relayer.send(sensor.report()).status_code == 202
    assert sealed_on_chain(relayer, 1)["reports"] == 1


def test_one_bad_report_does_not_hurt_the_others(relayer: RelayerProcess, sensor: Sensor) -> None:
    good, bad, also_good = sensor.report(), sensor.report(), sensor.report()
    forged = bad.__class__(bad.report, good.signature)
    answer = relayer.send(good, forged, also_good)
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [entry["status"] for entry in results] == ["accepted", "rejected", "accepted"]
    assert results[1]["error"] == "InvalidSignature"
    assert sealed_on_chain(relayer, 1)["reports"] == 2


def test_readings_that_all_fail_wait_for_one_that_passes(
    relayer: RelayerProcess, sensor: Sensor, chain: Chain
) -> None:
    boiling = sensor.observation(value=2_000_000)
    sensor.sequence += 1
    assert relayer.send(sensor.sign([boiling], sensor.sequence)).status_code == 202

    def held() -> bool:
        """the window is held"""
        return "corechain_windows_held_total 1.0" in relayer.get("/metrics").text

    eventually(held)
    assert chain.commitments() == {}
    assert relayer.send(sensor.report(1)).status_code == 202
    status = sealed_on_chain(relayer, 1)
    assert (status["readings"], status["reports"], status["failed"]) == (1, 2, 1)


def test_the_roles_run_in_processes_of_their_own(
    start: Start, sensor: Sensor, tmp_path: Path
) -> None:
    gateway = start("gateway")
    start("aggregator")
    start("submitter")
    assert gateway.send(sensor.report()).status_code == 202
    assert sealed_on_chain(gateway, 1)["reports"] == 1


async def test_a_gateway_vouches_for_its_frames_in_their_lane_alone(
    start: Start, sensor: Sensor, chain: Chain, bus_url: str, stream: str
) -> None:
    gateway = start("gateway", RELAYER_FRAME_KEY="2a" * 32)
    assert gateway.send(sensor.report()).status_code == 202
    async with bus_at(bus_url, stream) as bus:
        ((delivery,),) = [page async for page in bus.backlog(0)]
    registry = chain.deployment.address("DeviceRegistry")
    place = Place(chain.deployment.chain_id, registry, 0)
    keys = FrameKeys((b"\x2a" * 32,))
    assert open_frame(delivery.payload, keys, place).vouched
    assert not open_frame(delivery.payload, keys, replace(place, lane=1)).vouched


def test_sigterm_ends_the_process_with_exit_0_and_loses_nothing(
    start: Start, sensor: Sensor
) -> None:
    relayer = start(RELAYER_MAX_AGE_S="3600")
    assert relayer.send(sensor.report()).status_code == 202
    assert relayer.stop() == 0
    again = start()
    assert sealed_on_chain(again, 1)["reports"] == 1


def test_health_readiness_and_metrics_answer(relayer: RelayerProcess) -> None:
    assert relayer.get("/health").json() == {"status": "ok"}
    # Not at once: it serves before the tables of the journal are made.
    eventually(relayer.is_ready)
    assert "corechain_bus_frames 0.0" in relayer.get("/metrics").text
