"""Receive, queue, post: stopped between any two steps, each observation is at the gateway once.

given a station that tries again until it is acknowledged
  when the bridge dies before or after any write to its disk, or any request to the gateway
    all that was acknowledged is at the gateway once, in order, in one version
given a gateway that is away
  when the bridge is restarted again and again
    what waits is kept, and sent in order when the gateway is there
given a disk that is full
  uploads are 503, nothing is acknowledged; when there is room, the same upload is taken
given a disk on which a transaction cannot be committed
  what follows is committed
given a file that is no database
  it is refused, and not left open
"""

import os
import sqlite3
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from corechain.service.errors import StoreUnavailable
from corechain_relayer.bridge.formats.upload import Measurement, Upload
from corechain_relayer.bridge.sender import GatewayUnavailable
from corechain_relayer.bridge.store import FILE, BridgeStore
from relayer.bridges import NOBODY, Stage, ecowitt
from relayer.recording_gateway import Held, gateway

START, UPLOADS = 1_700_000_000, 3
MOST_STEPS = 200


class Died(Exception):
    """The end of the process, at this place."""


class Steps:
    """Lets calls through until the one at which the process dies: before its effect, or after."""

    def __init__(self, last):
        self.left = last

    def through(self, owner, name):
        call = getattr(owner, name)

        def stepped(*given):
            self._step()
            found = call(*given)
            self._step()
            return found

        async def stepped_request(*given):
            self._step()
            found = await call(*given)
            self._step()
            return found

        setattr(owner, name, stepped_request if name == "send_reports" else stepped)

    def _step(self):
        self.left -= 1
        if self.left == 0:
            raise Died


def upload(at):
    return Upload(tuple(Measurement(metric, at, at % 1000) for metric in (1, 3)))


async def life(stage, steps, acknowledged):
    """A process: it takes the uploads that the station has no answer to, and sends what waits."""
    bridge = stage.bridge
    for name in ("group", "head", "settle"):
        steps.through(bridge.store, name)
    steps.through(bridge.client, "send_reports")
    station = bridge.store.named("roof")
    for at in range(START + len(acknowledged), START + UPLOADS):
        await bridge.intake.gather.run(lambda at=at: bridge.intake.keep(station, [upload(at)]))
        acknowledged.append(at)
    while await bridge.sender.send_some():
        pass


async def test_a_bridge_that_dies_at_any_step_sends_each_observation_once(tmp_path):
    for last in count(1):
        held, acknowledged, folder = Held(), [], tmp_path / str(last)
        folder.mkdir()
        with gateway(held) as url:
            stage = Stage.at(folder, url, send_reports=2)
            stage.station("roof", "ecowitt")
            died = False
            try:
                await life(stage, Steps(last), acknowledged)
            except Died:
                died = True
            # What a kill leaves is what is on the disk: the connection says nothing more.
            await stage.bridge.close()
            again = Stage.at(folder, url, send_reports=2)
            await life(again, Steps(0), acknowledged)
            await again.bridge.close()
        assert held.times() == [at for at in range(START, START + UPLOADS) for _ in (1, 3)], last
        assert held.conflicts == 0
        if not died:
            break
        assert last < MOST_STEPS
    # Three uploads, two requests: each has steps before and after it.
    assert last > 2 * (UPLOADS + 2 * 3)


async def test_what_waits_survives_restarts_while_the_gateway_is_away(tmp_path):
    held, expected = Held(), []
    Stage.at(tmp_path).station("roof", "ecowitt")
    for life_number in range(4):
        bridge = Stage.at(tmp_path, NOBODY).bridge
        station = bridge.store.named("roof")
        for second in range(3):
            at = START + 10 * life_number + second
            bridge.intake.keep(station, [Upload((Measurement(1, at, 5),))])
            expected.append(at)
        with pytest.raises(GatewayUnavailable):
            await bridge.sender.send_some()
        await bridge.close()
    with gateway(held) as url:
        bridge = Stage.at(tmp_path, url, send_reports=5).bridge
        held.lost = 2
        while bridge.store.depth():
            with suppress(GatewayUnavailable):
                await bridge.sender.send_some()
        assert bridge.store.refused() == []
        await bridge.close()
    assert held.lost == 0
    assert held.times() == expected
    assert held.conflicts == 0


async def test_a_full_disk_is_an_outage_and_the_same_upload_is_taken_when_there_is_room(tmp_path):
    stage = Stage.at(tmp_path)
    stage.station("roof", "ecowitt")
    store, path = stage.bridge.store, f"/ecowitt/{stage.tokens['roof']}"
    (pages,) = store._run("pragma page_count").fetchone()
    store._run(f"pragma max_page_count = {pages}")
    taken = []
    async with stage.client() as client:
        for ago_s in range(500, 0, -1):
            answer = await client.post(path, data=ecowitt(ago_s, tempf=50))
            if answer.status_code != 200:
                break
            taken.append(answer)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert store.depth() == len(taken)
        store._run("pragma max_page_count = 1000000")
        again = await client.post(path, data=ecowitt(ago_s, tempf=50))
    assert again.status_code == 200
    assert store.depth() == len(taken) + 1
    await stage.bridge.close()


def test_what_cannot_be_committed_is_not_left_open(tmp_path):
    """All that followed would be a part of it: acknowledged, and on no disk."""
    stage, fails = Stage.at(tmp_path), [True]
    store, run = stage.bridge.store, stage.bridge.store._run

    def failing(text, parameters=None):
        if text == "commit" and fails:
            fails.clear()
            raise sqlite3.OperationalError("database is locked")
        return run(text, parameters)

    store._run = failing
    with pytest.raises(StoreUnavailable, match="locked"):
        stage.station("roof", "ecowitt")
    stage.station("garden", "ecowitt")
    assert [station.name for station in Stage.at(tmp_path).bridge.store.stations()] == ["garden"]


def test_a_file_that_cannot_be_used_is_not_left_open(tmp_path):
    """Its caller got no store that it could close."""
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnavailable, match="not a database") as refusal:
        BridgeStore(tmp_path, 10)
    assert refusal.value.__cause__ is not None, "its frames hold the store"
    opened = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert not [file for file in opened if file.exists() and file.samefile(tmp_path / FILE)]
