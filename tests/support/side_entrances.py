"""What comes in beside the fleet's reports, about one a second, while parts are killed: a device
that publishes to the MQTT broker, and a station that cannot sign and uploads to the bridge."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import httpx
from relayer.mqtt.devices import Said, Station, name_of
from relayer.support import Chain, Sensor, secp

from corechain.devnet.network import Network
from corechain.devnet.service import probe
from support.command import corechain
from support.processes import PATIENCE_S, eventually

PREFIX = "corechain/v1"
PACE_S, RETRY_S, ANSWER_S = 1.0, 0.5, 8.0
"""Between two of each; after a refused connection; until a message without answer is sent again."""
STEP_S = 5
"""Between the times of two of a station's observations."""


@dataclass
class SideEntrances:
    """Sends each message until it is acknowledged: by the gateway's answer over MQTT 5 (by the
    broker before it, which has no answers to what is right), by HTTP 200 of the bridge."""

    network: Network
    times: dict[str, Counter[int]] = field(default_factory=dict)
    """By device: the times of what was acknowledged."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _running: list[threading.Thread] = field(default_factory=list)
    _failures: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Self:
        chain = Chain(self.network.urls.anvil, self.network.deployment)
        sensor = Sensor(secp(4_711), chain.domain)
        chain.register(sensor.key)
        added = self._added_station()
        self.times = {name_of(sensor): Counter(), added["device"]: Counter()}
        for work in (lambda: self._publish(sensor), lambda: self._upload(**added)):
            self._running.append(threading.Thread(target=self._run, args=(work,), daemon=True))
            self._running[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._running:
            thread.join(PATIENCE_S)
        for failure in self._failures:
            raise failure

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:
            self._failures.append(failure)

    def _added_station(self) -> dict[str, Any]:
        words = ("bridge", "station", "add", "roof", "--format", "ecowitt")
        degrees = ("--latitude", "40.71", "--longitude", "-74.01")
        done = corechain(*words, *degrees, changes={"CORECHAIN_HOME": str(self.network.home)})
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        return {"device": said["device"], "path": said["path"]}

    def _publish(self, sensor: Sensor) -> None:
        broker, name = self.network.mqtt, name_of(sensor)
        with Station(broker.server.port, PREFIX, name, broker.version) as station:
            while not self._stopping.wait(PACE_S):
                report = sensor.report(count=1)
                is_taken = partial(_is_taken, station, report.pack(), report.report.sequence)
                self._until(is_taken)
                (seen,) = report.report.observations()
                self.times[name][seen.observed_at] += 1

    def _upload(self, device: str, path: str) -> None:
        at, url = int(time.time()) - 3_600, self.network.server("bridge").url + path
        while not self._stopping.wait(PACE_S):
            at += STEP_S
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
            form = {"dateutc": stamp, "PASSKEY": "0" * 32, "tempf": f"5{at % 2}"}
            self._until(partial(_is_uploaded, url, form))
            self.times[device][at] += 1

    @staticmethod
    def _until(is_done: Callable[[], bool]) -> None:
        """What was begun is ended: only then is known whether it counts."""
        deadline = time.monotonic() + 2 * PATIENCE_S
        while not is_done():
            assert time.monotonic() < deadline, "nobody takes it"
            time.sleep(RETRY_S)

    @property
    def sent(self) -> int:
        return sum(counts.total() for counts in self.times.values())

    def lost_and_doubled(self) -> tuple[int, int]:
        """Of the index, once it has as many as were acknowledged, or does not get them."""
        eventually(lambda: self._indexed() >= self.sent, PATIENCE_S)
        found = {device: self._of(device) for device in self.times}
        lost = sum((self.times[device] - found[device]).total() for device in found)
        doubled = sum((found[device] - self.times[device]).total() for device in found)
        return lost, doubled

    def _indexed(self) -> int:
        return sum(self._of(device).total() for device in self.times)

    def _of(self, device: str) -> Counter[int]:
        path = f"/v1/readings?device={device}&limit=1000"
        status, text = probe(self.network.ports.indexer, path, PATIENCE_S)
        items = json.loads(text)["items"] if status == 200 else []
        return Counter(int(item["observed_at"]) for item in items)


def _is_taken(station: Station, packed: bytes, sequence: int) -> bool:
    mark, topics = str(sequence).encode(), (station.topic("reports"), station.topic("answers"))
    has_answers = station.version == "5"
    asks = {"ResponseTopic": topics[1], "CorrelationData": mark} if has_answers else {}
    try:
        station.post(packed, topics[0], **asks)
    except RuntimeError:  # paho: not connected now
        return False
    if not has_answers:
        return True
    return eventually(lambda: any(_is_good(one, mark) for one in station.answers), ANSWER_S)


def _is_good(answer: Said, mark: bytes) -> bool:
    """A repetition of what it has is delivered, too."""
    if answer.correlation != mark or "results" not in answer.document:
        return False
    return set(answer.errors) <= {"", "ReplayedSequence"}


def _is_uploaded(url: str, form: dict[str, str]) -> bool:
    try:
        return httpx.post(url, data=form, timeout=PATIENCE_S).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
