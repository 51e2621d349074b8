"""A fleet's signed reports, published as fast as a broker takes them, and a log of its PUBACKs."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from paho.mqtt.client import CallbackAPIVersion, Client
from support.processes import PATIENCE_S, eventually

from corechain.devnet.fleet.acklog import AckLog, Kind
from corechain.devnet.fleet.keys import fleet_key
from corechain.devnet.fleet.replay import Replay, longest_hours
from corechain.devnet.fleet.shape import Shape
from corechain.devnet.fleet.signed_file import SignedFile, open_signed
from corechain.devnet.fleet.signing import Order, sign_file
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import KeyType
from relayer.mqtt.devices import VERSIONS
from relayer.support import ADMIN, Chain

NAME = "flood"
LIST = 10
"""Reports in a message of the gateway, which brings every second list; the rest are singles."""
IN_FLIGHT = 500
"""Messages that the broker has not confirmed: enough to keep it busy."""


def signed_fleet(chain: Chain, shape: Shape, folder: Path) -> SignedFile:
    """Enrols the fleet and signs its reports."""
    devices = [fleet_key(NAME, number).identity.device for number in range(shape.devices)]
    chain.enrol(Fleet.of(bytes.fromhex(ADMIN[2:]), KeyType.SECP256K1, devices))
    start = int(time.time()) - longest_hours(shape.reports * shape.observations)
    registry = chain.deployment.address("DeviceRegistry")
    order = Order(NAME, chain.deployment.chain_id, registry, Replay(shape, start, 1))
    sign_file(order, folder / "reports.ccfl", 1)
    return open_signed(folder / "reports.ccfl")


@dataclass
class Flood:
    """Publishes by Eclipse's client, which sends again what was not confirmed when the connection
    is back. It goes no further than it is let."""

    port: int
    prefix: str
    version: str
    file: SignedFile
    _client: Client = field(init=False)
    _thread: threading.Thread = field(init=False)
    _limit: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)
    _sent: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Packet id → first report and count of a message. Ids do not come twice: there are fewer
    messages than ids."""
    _confirmed: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.file.head.shape.total

    def __enter__(self) -> Self:
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=VERSIONS[self.version])
        self._client.max_inflight_messages_set(IN_FLIGHT)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = lambda client, data, mid, *_: self._confirmed.append(mid)
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def let(self, share: float) -> None:
        """It may publish so much of all reports."""
        self._limit = int(self.total * share)

    def reached(self, share: float) -> bool:
        """Waits until the broker has confirmed so much of all reports."""
        return eventually(lambda: self._reports_confirmed() >= int(self.total * share))

    def _reports_confirmed(self) -> int:
        # By the messages that are counted, not by what is in them: that would be quadratic.
        return len(self._confirmed) * 2 * LIST // (LIST + 1)

    def _run(self) -> None:
        first = 0
        while first < self.total and not self._stopped.is_set():
            if first >= self._limit or len(self._sent) - len(self._confirmed) > IN_FLIGHT:
                time.sleep(0.001)
                continue
            count = LIST if first // LIST % 2 else 1
            self._publish(first, count)
            first += count

    def _publish(self, first: int, count: int) -> None:
        device = self.file.head.devices[self.file.head.shape.place(first)[0]]
        place = "gateways/flood" if count > 1 else f"reports/0x{device.hex()}"
        payload = bytes(self.file.body(first, count))
        sent = self._client.publish(f"{self.prefix}/{place}", payload, 1)
        self._sent[sent.mid] = (first, count)

    def write_log(self, path: Path) -> Path:
        """What the broker has confirmed, as `corechain reconcile` reads it."""
        log = AckLog.begin(path, self.file.head)
        for mid in self._confirmed:
            log.add(Kind.ACKNOWLEDGED, *self._sent[mid])
        log.end()
        return path

    def wait(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert eventually(lambda: len(self._confirmed) == len(self._sent))
