"""One station that is broken, or was never registered, must not cost the others their place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain_relayer.bridge.errors import StationBacklog, TooManyUploads
from corechain_relayer.bridge.formats.upload import Measurement, Upload
from corechain_relayer.bridge.rates import Rates
from relayer.bridges import Stage, ecowitt


@pytest.fixture
async def made(tmp_path):
    """Makes the bridge of a test; closed at the end."""
    stages = []

    def make(**settings):
        stages.append(Stage.at(tmp_path, **settings))
        return stages[-1]

    yield make
    for stage in stages:
        await stage.bridge.close()


async def test_a_station_that_uploads_without_end_is_told_when_to_come_again(made):
    stage = made(station_burst=3, station_uploads_per_minute=6)
    now = stage.bridge.intake.now()
    stage.bridge.intake.now = lambda: now
    for name in ("roof", "yard"):
        stage.station(name, "ecowitt")
    async with stage.client() as client:

        async def upload(name, ago_s):
            path = f"/ecowitt/{stage.tokens[name]}"
            return await client.post(path, data=ecowitt(ago_s, tempf=50))

        answers = [await upload("roof", 9 - n) for n in range(5)]
        assert [one.status_code for one in answers] == [200, 200, 200, 429, 429]
        assert answers[-1].headers["retry-after"] == "10"
        assert answers[-1].json()["type"] == "urn:corechain:error:TooManyUploads"
        assert (await upload("yard", 1)).status_code == 200
        now += 10
        assert [(await upload("roof", n)).status_code for n in (2, 1)] == [200, 429]
    assert stage.bridge.store.depth() == 5
    assert 'refused_total{format="ecowitt",reason="TooManyUploads"} 3.0' in stage.metrics()


async def test_a_station_that_was_never_registered_fills_its_own_part_of_the_queue_alone(made):
    stage = made(station_reports=2)
    for name in ("roof", "yard"):
        stage.station(name, "ecowitt")
    async with stage.client() as client:
        codes = {}
        for name in ("roof", "yard"):
            path = f"/ecowitt/{stage.tokens[name]}"
            uploads = [await client.post(path, data=ecowitt(9 - n, tempf=50)) for n in range(3)]
            codes[name] = [one.status_code for one in uploads]
        assert codes == {"roof": [200, 200, 503], "yard": [200, 200, 503]}
        assert uploads[-1].headers["retry-after"]
    station = stage.bridge.store.named("roof")
    with pytest.raises(StationBacklog):
        stage.bridge.intake.keep(station, [Upload((Measurement(1, 1, 1),))])


TIMES = st.lists(st.floats(-5, 100, allow_nan=False), max_size=200)


@given(TIMES, st.integers(1, 600), st.integers(1, 20))
def test_no_station_uploads_more_than_its_burst_and_what_comes_back(steps, per_minute, burst):
    """Whatever the clock does: time that is counted twice would be the only way."""
    rates, now, passed, taken = Rates(per_minute, burst), 1_000.0, 0.0, 0
    for step in steps:
        now += step
        passed += max(0.0, step)
        try:
            rates.take(7, now)
            taken += 1
        except TooManyUploads:
            Rates(per_minute, burst).take(8, now)  # another one is not concerned
    assert taken <= burst + passed * per_minute / 60 + 1e-6
