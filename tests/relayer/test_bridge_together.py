"""Uploads that come together share a write to the disk, and nothing else."""

import asyncio
import json

import httpx
import pytest
from structlog.testing import capture_logs

from corechain.protocol.reading import unpack_report
from corechain_relayer.bridge.errors import InvalidMapping
from corechain_relayer.bridge.formats.registry import FORMATS
from corechain_relayer.bridge.formats.upload import Message
from corechain_relayer.bridge.service import KEYS
from relayer.bridges import Stage, ecowitt, stamp
from relayer.uploads import PASSKEY, SAMPLES

FOREVER = 10**9


@pytest.fixture
async def stage(tmp_path):
    found = Stage.at(tmp_path)
    yield found
    await found.bridge.close()


def queued(stage):
    """The reports that wait, in order."""
    return [unpack_report(item.report)[0] for item in stage.bridge.store.head(FOREVER)]


async def test_uploads_that_come_together_share_a_write_and_each_has_its_own_answer(stage):
    """All are waiting before the first is begun: one write carries them all."""
    stage.station("roof", "ecowitt")
    stage.station("lost", "ecowitt")
    keys = stage.bridge.settings.data_dir / KEYS
    (keys / f"{stage.bridge.store.named('lost').device.hex()}.key").unlink()
    writes, group = [], stage.bridge.store.group
    stage.bridge.store.group = lambda steps: writes.append(len(steps)) or group(steps)
    kind = FORMATS["ecowitt"]

    def upload(name, ago_s, text="tempf=50"):
        body = f"dateutc={stamp(ago_s).replace(' ', '+')}&{text}"
        return stage.bridge.intake.upload(kind, Message(body.encode()), stage.tokens[name])

    found = await asyncio.gather(
        *(upload("roof", 100 - n) for n in range(20)),
        upload("lost", 5),
        upload("roof", 4, "uv=3"),
        upload("roof", 3),
        return_exceptions=True,
    )
    names = [type(one).__name__ for one in found]
    assert names == ["list"] * 20 + ["Unavailable", "NothingMeasured", "list"]
    assert len(queued(stage)) == 21
    assert writes == [23]


async def test_a_mistake_of_ours_is_logged_by_its_place_and_not_in_its_words(stage):
    """An error's words may quote what was sent."""

    def broken(steps):
        raise ValueError(f"cannot read {PASSKEY}")

    stage.bridge.store.group = broken
    transport = httpx.ASGITransport(stage.bridge.apps()[0], raise_app_exceptions=False)
    with capture_logs() as logs:
        async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
            answer = await client.post("/ecowitt/nobody", data=ecowitt(tempf=50))
    assert answer.status_code == 500
    (said,) = logs
    assert (said["event"], said["kind"]) == ("request failed", "ValueError")
    assert "gather.py" in said["trace"]
    assert PASSKEY not in repr(logs) + answer.text


async def test_a_mistake_of_ours_leaves_no_client_waiting(stage):
    stage.bridge.store.group = lambda steps: 1 / 0
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await stage.bridge.intake.upload(FORMATS["ecowitt"], Message(b"tempf=1"), "nobody")


async def test_a_mistake_of_ours_with_one_upload_costs_no_other(stage):
    roof, unlucky = (stage.station(name, "ecowitt") for name in ("roof", "unlucky"))
    take = stage.bridge.store.take
    stage.bridge.store.take = lambda station, *rest: (
        1 / 0 if station.device == unlucky.device else take(station, *rest)
    )
    kind, message = FORMATS["ecowitt"], Message(b"tempf=50")
    found = await asyncio.gather(
        *(stage.bridge.intake.upload(kind, message, stage.tokens[n]) for n in ("roof", "unlucky")),
        return_exceptions=True,
    )
    assert [type(one).__name__ for one in found] == ["list", "ZeroDivisionError"]
    assert [signed.report.device for signed in queued(stage)] == [roof.device]


async def test_stations_of_no_known_format_are_told_apart_by_their_mappings(stage):
    """Each may have its identity somewhere else."""
    rule = '[[rule]]\npath="t"\nmetric="air_temperature"\nunit="Cel"\n'
    serial, name = (f'identity="{path}"\n{rule}' for path in ("device.serial", "name"))
    first = stage.station("one", "json", identity="A1", mapping=serial)
    token = stage.tokens["one"]
    second = stage.station("two", "json", identity="B2", mapping=name, token=token)
    async with stage.client() as client:

        async def post(**document):
            return await client.post(f"/json/{token}", content=json.dumps({"t": 20, **document}))

        answers_ = [await post(device={"serial": "a1"}), await post(name="B2"), await post(name=1)]
    assert [one.status_code for one in answers_] == [200, 200, 401]
    assert [one.report.device for one in queued(stage)] == [first.device, second.device]
    with pytest.raises(InvalidMapping):
        stage.station("three", "json", identity="C3", mapping=rule)


async def test_of_thousands_behind_one_webhook_only_the_one_that_sent_is_read(stage):
    stage.station("roof", "ttn", identity="0004A30B001C0530")
    token, seen = stage.tokens["roof"], []
    stage.station("yard", "ttn", identity="0004A30B001C0531", token=token)
    stage.station("barn", "ttn", identity="0004A30B001C0532", token=token)
    query = stage.bridge.store._query

    def asked(name, **values):
        seen.extend(found := query(name, **values))
        return found

    stage.bridge.store._query = asked
    live = SAMPLES["ttn"].body.replace(b"2021-12-24T11:31:57.912Z", stamp().encode() + b"Z")
    async with stage.client() as client:
        assert (await client.post(f"/ttn/{token}", content=live)).status_code == 200
    stations = [row for row in seen if "identity" in row.keys()]  # noqa: SIM118
    assert len(stations) == 3, "two that say that the identity decides, and the one"
