"""Every step of every role, ended by SIGKILL at a named point, on real servers behind bad networks.

given a relayer with all roles, whose node, database and bus are behind proxies that fail
  while devices report, channels are closed with stale states, and data is demanded
  when it is killed (-9) before and after each step of each role, again and again
    and reorgs take what it has on chain, while it runs and while it is down
    every acknowledged report is in exactly one committed batch
    every state that the watchtower acknowledged stands on chain after a stale close
    every demand is answered
    what is committed is, byte for byte, what a relayer commits that nobody kills

`make chaos` runs it with KILLS=200, a fourth of them on Kafka; it writes kills, reorgs, lost,
doubled and recovery times. MINUTES=20 ends the killing after that, on each bus.
"""

import hashlib
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from relayer.demands import Challenger
from relayer.support import WATCHTOWER_KEY, Chain, RelayerProcess, Sensor, eventually, secp
from relayer.test_crash import key_of
from relayer.test_watchtower import OpenChannel, post
from support.databases import Databases
from support.faults import CUT, HALF_OPEN, HANG, LATE, PASS, REFUSE, RESET, FaultProxy

from chaos.dying import POINTS, points_on
from chaos.victims import Device, DyingRelayer, WholeRelayer
from corechain.devnet.process import free_port
from corechain.devnet.settings import GUARD_KEY
from corechain.protocol.batch import open_data_file
from corechain.protocol.reading import SignedReport, unpack_report
from corechain_relayer.journal.sql import migrations

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "bench" / "results" / "chaos.json"
KILLS = int(os.environ.get("KILLS") or 2 * len(POINTS))
SEED = int(os.environ.get("SEED") or 1)
MINUTES = float(os.environ.get("MINUTES") or "inf")
"""After so many of a run no life is begun: what was measured until then is written."""
WAYS = (PASS, PASS, REFUSE, RESET, HANG, LATE, HALF_OPEN, CUT)
SERVERS = {"RELAYER_RPC_URL": "node", "RELAYER_DATABASE_URL": "database", "RELAYER_BUS_URL": "bus"}
SHARES = {"valkey": 0.75, "kafka": 0.25}
"""Of the kills, by the bus."""
REORG_SHARE = 0.35
"""Of the lives: half of their reorgs come while the process is down."""
DEEPEST_REORG = 8
COLD_STARTS = 5
POINT_S = 120.0
"""A life that has not come to its point by then is killed from outside."""
STALE, NEWEST = 2, 7
SHORT = {
    "RELAYER_MAX_READINGS": "10",
    "RELAYER_MAX_AGE_S": "0.1",
    "RELAYER_FOLD_AGE_S": "0.1",
    "RELAYER_RPC_TIMEOUT_S": "2",
    "RELAYER_RESEND_AFTER_S": "1",
    "RELAYER_REFUSED_PAUSE_S": "0.5",
    "RELAYER_WATCHTOWER_KEY": WATCHTOWER_KEY,
    "RELAYER_GUARD_KEY": GUARD_KEY,
}


@dataclass
class Matrix:
    """One run. What happens is drawn from `chance`; when, from what the relayer does."""

    chain: Chain
    relayer: DyingRelayer
    proxies: dict[str, FaultProxy]
    devices: list[Device]
    chance: random.Random
    challenger: Challenger
    bus: str
    last_of_others: int = 0
    """The newest block with anything that is not the relayer's: reorgs begin above it."""
    reorgs: Counter[int] = field(default_factory=Counter)
    """By depth."""
    kills: Counter[str] = field(default_factory=Counter)
    by_hand: Counter[str] = field(default_factory=Counter)
    """Killed from outside, as the point did not come in time."""
    ways: Counter[str] = field(default_factory=Counter)
    recovered_s: list[float] = field(default_factory=list)
    recovered_cpu_s: list[float] = field(default_factory=list)
    channels: list[OpenChannel] = field(default_factory=list)
    kept: set[bytes] = field(default_factory=set)
    """Channels of which the tower has acknowledged the newest state."""
    demands: list[bytes] = field(default_factory=list)
    demanded: set[int] = field(default_factory=set)

    def work_for(self, role: str) -> None:
        """What that role has to do; all others have their devices."""
        if role == "watchtower":
            salt = len(self.channels).to_bytes(5, "big")
            channel = OpenChannel(self.chain, secp(21), secp(22), salt=salt).open()
            channel.challenge(channel.signed(STALE, 900))
            self.channels.append(channel)
        elif role == "guard":
            free = {n: c for n, c in self.chain.commitments().items() if n not in self.demanded}
            if free:
                number = min(free)
                self.demanded.add(number)
                self.demands.append(self.challenger.of_batch(number, free[number]))
        if role in ("watchtower", "guard"):
            self.last_of_others = self.head()

    def head(self) -> int:
        return int(self.chain.rpc("eth_blockNumber"), 16)

    def reorg(self) -> None:
        """Takes what the relayer has on chain since others were last there: anvil brings nothing
        of it back into its pool."""
        most = min(DEEPEST_REORG, self.head() - self.last_of_others)
        if most > 0:
            depth = self.chance.randint(1, most)
            self.chain.reorg(depth)
            self.reorgs[depth] += 1

    def cycle(self, label: str) -> None:
        point = POINTS[label]
        self.work_for(point.role)
        self.relayer.point, self.relayer.nth = label, self.chance.randint(1, 2)
        # Guard and tower have one thing to do a cycle: there is no second time.
        if point.role in ("guard", "watchtower"):
            self.relayer.nth = 1
        server, way = self.chance.choice(sorted(self.proxies)), self.chance.choice(WAYS)
        self.ways[f"{server} {way}"] += 1
        bad_for_s = self.chance.uniform(0.2, 1.5)
        reorg_at_s = self._reorg_at_s()
        began = time.monotonic()
        self.relayer.launch()
        if way is not PASS:
            self.proxies[server].become(way)
        self._until_dead(began, bad_for_s if way is not PASS else 0.0, server, label, reorg_at_s)

    def _reorg_at_s(self) -> float:
        """Seconds after the start at which there is a reorg; infinity where there is none, or where
        it was before."""
        if self.chance.random() >= REORG_SHARE:
            return float("inf")
        if self.chance.random() < 0.5:
            self.reorg()
            return float("inf")
        return self.chance.uniform(0.2, 2.0)

    def _until_dead(
        self, began: float, bad_for_s: float, server: str, label: str, reorg_at_s: float
    ) -> None:
        bad = bad_for_s > 0
        while not self.relayer.is_dead:
            elapsed = time.monotonic() - began
            if bad and elapsed > bad_for_s:
                self.proxies[server].become(PASS)
                bad = False
            if elapsed > reorg_at_s:
                reorg_at_s = float("inf")
                self.reorg()
            if POINTS[label].role == "watchtower":
                self._leave_states()
            if elapsed > POINT_S:
                self.by_hand[label] += 1
                self.relayer.kill()
            time.sleep(0.02)
        if bad:
            self.proxies[server].become(PASS)
        self.kills[label] += 1

    def _note_recovery(self, elapsed: float, process: RelayerProcess) -> None:
        self.recovered_s.append(elapsed)
        with suppress(psutil.Error):
            times = psutil.Process(process.process.pid).cpu_times()  # type: ignore[union-attr]
            self.recovered_cpu_s.append(times.user + times.system)

    def _leave_states(self) -> None:
        for channel in self.channels:
            if channel.id in self.kept:
                continue
            with suppress(httpx.HTTPError):
                if post(self.relayer, channel.signed(NEWEST, 100)).status_code in (200, 201):
                    self.kept.add(channel.id)

    def warm_up(self) -> None:
        """Batches on chain, of which the first guards can be asked; recovery as an operator sees
        it, with all that has to be imported."""
        process = WholeRelayer(self.relayer.environment, self.relayer.folder)
        for _ in range(COLD_STARTS):
            began = time.monotonic()
            process.start()
            self._note_recovery(time.monotonic() - began, process)
            before = len(self.chain.commitments())
            eventually(lambda before=before: len(self.chain.commitments()) > before)  # type: ignore[misc]
            process.kill()
            self.kills["any: from outside"] += 1

    def run(self, kills: int) -> None:
        until = time.monotonic() + MINUTES * 60
        for label in self._labels(kills - sum(self.kills.values())):
            if time.monotonic() > until:
                break
            self.cycle(label)
            print(f"· {sum(self.kills.values())} kills, {label}", file=sys.stderr, flush=True)

    def _labels(self, count: int) -> Iterator[str]:
        """Each point once before any comes again."""
        labels = points_on(self.bus)
        for number in range(max(0, count)):
            if number % len(labels) == 0:
                self.chance.shuffle(labels)
            yield labels[number % len(labels)]

    def heal(self) -> None:
        self.relayer.point = ""
        self.relayer.start()
        for device in self.devices:
            device.stop.set()


def committed(chain: Chain, folder: Path) -> Counter[bytes]:
    """How often each report, packed, is in a committed batch."""
    found: Counter[bytes] = Counter()
    for commitment in chain.commitments().values():
        content = (folder / f"{commitment.hex()}.ccdf").read_bytes()
        found.update(signed.pack() for signed in open_data_file(content)[0].reports)
    return found


def digest(found: Counter[bytes]) -> str:
    """Of all that was committed. Which batch a report is in, and in which order they came there,
    is a matter of time: left out."""
    return hashlib.sha256(b"".join(sorted(found.elements()))).hexdigest()


def with_bus(environment: dict[str, str]) -> dict[str, str]:
    """The tests' Kafka is one broker."""
    return environment | {"RELAYER_KAFKA_COPIES": "1"}


def bus_of_twin(environment: dict[str, str]) -> dict[str, str]:
    """Empty. On Kafka the address names the topics, on Valkey the stream's name does."""
    is_kafka = environment["RELAYER_BUS_URL"].startswith("kafka")
    name = "RELAYER_BUS_URL" if is_kafka else "RELAYER_BUS_STREAM"
    return {name: f"{environment[name]}-twin"}


@pytest.fixture(params=sorted(SHARES, reverse=True))
def bus_url(request: pytest.FixtureRequest) -> str:
    """Of an empty bus of each kind. Kafka's clients go where its brokers say that they are: there
    is no proxy before it."""
    fixture = {"valkey": "valkey", "kafka": "kafka_url"}[request.param]
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def matrix(chain: Chain, environment: dict[str, str], tmp_path: Path) -> Iterator[Matrix]:
    bus = "kafka" if environment["RELAYER_BUS_URL"].startswith("kafka") else "valkey"
    with ExitStack() as stack:
        proxies = {
            name: stack.enter_context(FaultProxy(urlsplit(environment[setting]).port or 0))
            for setting, name in SERVERS.items()
            if (bus, name) != ("kafka", "bus")
        }
        behind = {
            s: proxies[name].instead_in(environment[s])
            for s, name in SERVERS.items()
            if name in proxies
        }
        port = free_port()
        settings = with_bus(environment) | SHORT | behind | {"RELAYER_HTTP_PORT": str(port)}
        relayer = DyingRelayer(settings, tmp_path)
        relayer.url = f"http://127.0.0.1:{port}"
        devices = [Device(Sensor(secp(n), chain.domain), relayer) for n in (1, 2)]
        for device in devices:
            chain.register(device.sensor.key)
        chance = random.Random(SEED)
        yield Matrix(chain, relayer, proxies, devices, chance, Challenger(chain), bus)
        for device in devices:
            device.stop.set()
        relayer.close()


def p95(found: list[float]) -> float:
    return round(sorted(found)[int(0.95 * (len(found) - 1))], 2) if found else float("nan")


def figures(
    matrix: Matrix, acknowledged: int, lost: int, doubled: int, equal: bool
) -> dict[str, object]:
    return {
        "kills": sum(matrix.kills.values()),
        "load": round(os.getloadavg()[1], 1),
        "kills_by_hand": dict(matrix.by_hand),
        "kills_by_point": dict(sorted(matrix.kills.items())),
        "networks": dict(sorted(matrix.ways.items())),
        "reorgs": {str(depth): times for depth, times in sorted(matrix.reorgs.items())},
        "acknowledged": acknowledged,
        "lost": lost,
        "doubled": doubled,
        "stale_closes_answered": len(matrix.kept),
        "demands_answered": len(matrix.demands),
        "recovery_p95_s": p95(matrix.recovered_s),
        "recovery_cpu_p95_s": p95(matrix.recovered_cpu_s),
        "twin_is_equal": equal,
    }


def write(bus: str, found: dict[str, object]) -> None:
    """Beside what the simulator has written there: those of Valkey, and of Kafka under its name."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    after = before | (found if bus == "valkey" else {bus: found})
    RESULTS.write_text(json.dumps(after, indent=2) + "\n")


def test_killed_at_every_step_it_loses_and_doubles_nothing(
    matrix: Matrix,
    environment: dict[str, str],
    databases: Databases,
    tmp_path: Path,
) -> None:
    chain, folder = matrix.chain, tmp_path / "data"
    before = chain.rpc("evm_snapshot")
    threads = [threading.Thread(target=device.run) for device in matrix.devices]
    for thread in threads:
        thread.start()
    matrix.last_of_others = matrix.head()
    matrix.warm_up()
    matrix.run(round(KILLS * SHARES[matrix.bus]))
    matrix.heal()
    for thread in threads:
        thread.join()

    reports = [r for device in matrix.devices for r in device.acknowledged]
    wanted = {key_of(report): report.pack() for report in reports}

    def complete() -> bool:
        """every acknowledged report is in a committed batch"""
        return committed(chain, folder).keys() >= set(wanted.values())

    with suppress(AssertionError):
        eventually(complete)
    found = committed(chain, folder)
    lost = len(set(wanted.values()) - found.keys())
    doubled = sum(1 for times in found.values() if times > 1)
    eventually(
        lambda: [c.version() for c in matrix.channels if c.id in matrix.kept].count(STALE) == 0
    )
    matrix.challenger.awaited(*matrix.demands)
    matrix.relayer.kill()

    # Of a report whose answer was lost nobody knows: it may be committed, and the twin gets it too.
    every = [unpack_report(packed)[0] for packed in found]
    chain.rpc("evm_revert", before)
    twin = digest_of_twin(chain, environment, databases, tmp_path, every)
    write(matrix.bus, figures(matrix, len(wanted), lost, doubled, twin == digest(found)))
    assert (lost, doubled) == (0, 0)
    assert twin == digest(found)
    assert [device.odd for device in matrix.devices] == [Counter(), Counter()]


def digest_of_twin(
    chain: Chain,
    environment: dict[str, str],
    databases: Databases,
    tmp_path: Path,
    reports: list[SignedReport],
) -> str:
    """Of a relayer that gets the same reports and is never killed."""
    database, folder = databases.migrated("relayer", migrations()), tmp_path / "twin"
    folder.mkdir()
    changes = {
        "RELAYER_DATABASE_URL": database,
        **bus_of_twin(environment),
        "RELAYER_DATA_DIR": str(folder / "data"),
    }
    twin = RelayerProcess(with_bus(environment) | changes, folder).start()
    try:
        for report in sorted(reports, key=key_of):
            assert twin.send(report).status_code == 202
        packed = {report.pack() for report in reports}
        eventually(lambda: committed(chain, folder / "data").keys() >= packed)
        return digest(committed(chain, folder / "data"))
    finally:
        twin.close()
        databases.drop(database)
