"""SensorThings 1.1, CreateObservations (OGC 18-088, 14): a link or "error" for each row, in order.

given a station whose Datastreams are mapped
  when data arrays come
    201, with a link for each row that became an observation and "error" for each other
  when they come again
    the newest of each kind has its link, what lies before it "error"
  when one Observation comes
    201 with its link in Location, or the problem that says why not
"""

import json
import time

import pytest

from corechain_relayer.bridge.formats.sensorthings import MAX_ROWS
from relayer.bridges import Stage
from relayer.uploads import STREAMS

API = "http://api.example"
AIR, HUMIDITY = 1, 3


@pytest.fixture
async def stage(tmp_path):
    found = Stage.at(tmp_path, api_url=f"{API}/")
    more = '[[rule]]\npath = "3"\nmetric = "station_pressure"\nunit = "hPa"\n'
    found.station("roof", "sensorthings", mapping=STREAMS + more)
    yield found
    await found.bridge.close()


async def post(stage, document, rest="CreateObservations"):
    async with stage.client() as client:
        path = f"/sensorthings/{stage.tokens['roof']}/v1.1/{rest}"
        return await client.post(path, content=json.dumps(document))


def text(at):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def group(stream, *rows):
    arrays = [[text(at) if isinstance(at, int) else at, result] for at, result in rows]
    names = ["phenomenonTime", "result"]
    return {"Datastream": {"@iot.id": stream}, "components": names, "dataArray": arrays}


def link(stage, metric, at):
    device = stage.bridge.store.named("roof").device.hex()
    return f"{API}/v1/readings?device=0x{device}&metric={metric}&from={at}&to={at}"


async def test_each_row_has_its_link_or_error_in_the_order_of_the_request(stage):
    now = int(time.time()) - 60
    rows = [
        group(1, (now, 20.5), (now + 1, -999), (now + 2, "warm"), ("yesterday", 3), (now + 3, 21)),
        group(9, (now, 1)),
        group(2, (now, 65), (now + 9_000, 66)),
        group(3, (now, 1000)),
    ]
    rows[0]["dataArray"].append([text(now)])
    answer = await post(stage, rows)
    assert answer.status_code == 201
    assert answer.json() == [
        link(stage, AIR, now),
        "error",  # a sentinel
        "error",  # no number
        "error",  # no time
        link(stage, AIR, now + 3),
        "error",  # no result
        "error",  # a Datastream that nobody has mapped
        link(stage, HUMIDITY, now),
        "error",  # hours ahead
        "error",  # a barometer of unknown elevation
    ]


async def test_the_same_request_again_creates_nothing_and_names_the_newest(stage):
    now = int(time.time()) - 60
    request = [group(1, (now, 20), (now + 1, 21))]
    first = await post(stage, request)
    again = await post(stage, request)
    assert first.json() == [link(stage, AIR, now), link(stage, AIR, now + 1)]
    assert again.json() == ["error", link(stage, AIR, now + 1)]
    assert stage.bridge.store.depth() == 1


async def test_rows_that_are_all_wrong_are_an_answer_of_errors(stage):
    answer = await post(stage, [group(1, ("yesterday", 3)), group(7, ("x", 1))])
    assert (answer.status_code, answer.json()) == (201, ["error", "error"])
    assert 'reason="UnmappedDatastream"} 1.0' in stage.metrics()


async def test_more_rows_than_a_request_may_have_are_errors_and_counted(stage):
    now = int(time.time()) - MAX_ROWS - 60
    answer = await post(stage, [group(1, *((now + n, n % 9) for n in range(MAX_ROWS + 2)))])
    found = answer.json()
    assert found[MAX_ROWS - 1 :] == [link(stage, AIR, now + MAX_ROWS - 1), "error", "error"]
    assert "error" not in found[:MAX_ROWS]
    assert 'reason="TooManyItems"} 1.0' in stage.metrics()


async def test_one_observation_has_its_link_in_location(stage):
    now = int(time.time()) - 60
    one = {"phenomenonTime": text(now), "result": 4.5, "Datastream": {"@iot.id": 1}}
    created = await post(stage, one, "Observations")
    assert (created.status_code, created.content) == (201, b"")
    assert created.headers["location"] == link(stage, AIR, now)
    again = await post(stage, one, "Observations")
    assert (again.status_code, again.headers["location"]) == (201, link(stage, AIR, now))
    earlier = await post(stage, one | {"phenomenonTime": text(now - 1)}, "Observations")
    assert earlier.status_code == 409
    assert earlier.json()["type"] == "urn:corechain:error:NothingNew"
    assert "OutOfOrder" in earlier.json()["detail"]
    assert (await post(stage, one | {"result": "nan"}, "Observations")).status_code == 422


async def test_what_is_no_request_of_sensorthings_creates_nothing(stage):
    for wrong in (7, [7], [{"Datastream": 1}], [{"Datastream": {}, "components": 1}]):
        answer = await post(stage, wrong)
        assert answer.json()["type"] == "urn:corechain:error:MalformedUpload"
    assert stage.bridge.store.depth() == 0
