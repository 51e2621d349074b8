"""A relayer that dies loses nothing and doubles nothing.

given a relayer that takes reports
  when it is killed (-9) again and again while devices send
    every acknowledged report is in exactly one committed batch
    a replay of an acknowledged report is refused, whatever was forgotten in memory
  when it dies between two particular writes
    the next one goes on as if nothing had happened
"""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.processes import PATIENCE_S

from corechain.deployment import load_deployment
from corechain.protocol.batch import open_data_file
from corechain.protocol.reading import SignedReport
from corechain.service.errors import WriterLockHeld
from corechain.service.supervision import stop_all
from corechain_relayer.aggregator import sealing
from corechain_relayer.bus.consumer import ValkeyConsumer
from corechain_relayer.bus.frame import frame_of
from corechain_relayer.journal import fold as journal_fold
from corechain_relayer.journal.batches import BatchJournal
from corechain_relayer.service import Relayer, Role
from corechain_relayer.settings import PREFIX, Settings
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node
from relayer.conftest import Start
from relayer.support import Chain, RelayerProcess, Sensor, eventually, secp

KILLS = 5
LINGER_S = 0.4
"""After everything is done: time to do something twice."""
Key = tuple[bytes, int]


def key_of(signed: SignedReport) -> Key:
    return signed.report.device, signed.report.sequence


@dataclass
class Device:
    """Sends until it is told to stop. A report is repeated until something is said about it."""

    sensor: Sensor
    relayer: RelayerProcess
    acknowledged: list[SignedReport] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        report = self.sensor.report()
        while not self.stop.is_set():
            try:
                answer = self.relayer.send(report)
            except httpx.HTTPError:
                self.stop.wait(0.02)
                continue
            if answer.status_code == 503:  # it has just started
                self.stop.wait(0.02)
                continue
            # 409: the answer to an earlier try was lost; the report was not.
            assert answer.status_code in (202, 409), answer.text
            self.acknowledged.append(report)
            report = self.sensor.report()


def acknowledged(devices: list[Device]) -> int:
    return sum(len(device.acknowledged) for device in devices)


def files_on_chain(chain: Chain, folder: Path) -> dict[int, bytes]:
    """Content of the data file of every committed batch."""
    return {
        batch: (folder / f"{commitment.hex()}.ccdf").read_bytes()
        for batch, commitment in chain.commitments().items()
    }


def committed_reports(chain: Chain, folder: Path) -> Counter[Key]:
    """How often each report is in a committed batch."""
    found: Counter[Key] = Counter()
    for content in files_on_chain(chain, folder).values():
        found.update(key_of(signed) for signed in open_data_file(content)[0].reports)
    return found


def assert_chain_and_files_agree(chain: Chain, folder: Path) -> None:
    """Batches are numbered without a gap, chained, and no other data file lies about."""
    commitments = chain.commitments()
    assert sorted(commitments) == list(range(1, len(commitments) + 1))
    names = {path.stem for path in folder.glob("*.ccdf")}
    assert names == {commitment.hex() for commitment in commitments.values()}
    for batch, content in files_on_chain(chain, folder).items():
        _, origin = open_data_file(content)
        assert origin.previous == commitments.get(batch - 1, bytes(26))


@pytest.mark.parametrize("seed", [1])
def test_killed_at_random_moments_it_keeps_every_acknowledged_report_once(
    start: Start, chain: Chain, tmp_path: Path, seed: int
) -> None:
    moments = random.Random(seed)
    relayer = start(RELAYER_MAX_READINGS="10", RELAYER_MAX_AGE_S="0.1")
    devices = [Device(Sensor(secp(n), chain.domain), relayer) for n in (1, 2, 3)]
    for device in devices:
        chain.register(device.sensor.key)
    threads = [threading.Thread(target=device.run) for device in devices]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        enough = acknowledged(devices) + moments.randint(1, 15)
        eventually(lambda: acknowledged(devices) >= enough, pause_s=0.001)  # noqa: B023
        time.sleep(moments.uniform(0.0, 0.2))
        relayer.kill()
        relayer.start()
    for device in devices:
        device.stop.set()
    for thread in threads:
        thread.join()

    wanted = Counter(key_of(r) for device in devices for r in device.acknowledged)

    def complete() -> bool:
        """every acknowledged report is in a committed batch"""
        return committed_reports(chain, tmp_path / "data").keys() >= wanted.keys()

    eventually(complete)
    assert set(committed_reports(chain, tmp_path / "data").values()) == {1}
    assert_chain_and_files_agree(chain, tmp_path / "data")
    for device in devices:
        again = relayer.send(*device.acknowledged[-5:])
        assert again.json()["type"] == "urn:corechain:error:ReplayedSequence"


# ------------------------------------------------------------------ particular moments


class Died(BaseException):
    """The process ends here. Nothing below may catch it."""


@dataclass(frozen=True)
class Moment:
    """Right before or right after a call of one function."""

    owner: Any
    name: str
    after: bool


@contextmanager
def dying(moment: Moment, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The real function, and death before or after it."""
    real: Callable[..., Any] = getattr(moment.owner, moment.name)

    def sync(*args: Any, **kwargs: Any) -> Any:
        if moment.after:
            real(*args, **kwargs)
        raise Died(moment.name)

    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        if moment.after:
            await real(*args, **kwargs)
        raise Died(moment.name)

    with patch.context() as context:
        replacement = asynchronous if asyncio.iscoroutinefunction(real) else sync
        context.setattr(moment.owner, moment.name, replacement)
        yield


MOMENTS = {
    "the data file is not written": Moment(sealing, "write_data_file", False),
    "the data file is written, the journal is not": Moment(sealing, "write_data_file", True),
    "the journal is written, the bus still has the frames": Moment(BatchJournal, "keep", True),
    "the journal is to fold what batches changed": Moment(journal_fold, "_apply", False),
    "it is written to the tables, in a transaction still open": Moment(
        journal_fold, "_apply", True
    ),
    "it is folded": Moment(journal_fold, "fold", True),
    "the bus has let go": Moment(ValkeyConsumer, "ack", True),
    "the transaction is signed, not journalled": Moment(IntentJournal, "record", False),
    "the transaction is journalled, not sent": Moment(IntentJournal, "record", True),
    "the transaction is sent, that is not journalled": Moment(Node, "send", True),
    "the transaction is marked as sent": Moment(IntentJournal, "mark_sent", True),
    "the block is seen, that is not journalled": Moment(IntentJournal, "confirm", False),
    "the confirmation is journalled": Moment(IntentJournal, "confirm", True),
}


def settings_of(environment: dict[str, str]) -> Settings:
    return Settings(**{k.removeprefix(PREFIX).lower(): v for k, v in environment.items()})


async def aggregating(relayer: Relayer) -> None:
    """One session, as soon as the database has noticed that the process before is gone."""
    while True:
        try:
            return await relayer.aggregate()
        except WriterLockHeld:
            await asyncio.sleep(0.05)


async def live(relayer: Relayer, done: Callable[[], bool]) -> bool:
    """Aggregator and submitter of one process until `done`; True when it died before."""
    try:
        await relayer.prepare([Role.AGGREGATOR])
        await relayer.migrate()
        loops = [
            asyncio.create_task(aggregating(relayer)),
            asyncio.create_task(relayer.lane_submitter()()),
        ]
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not done() and not any(loop.done() for loop in loops):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await asyncio.sleep(LINGER_S)
        finally:
            # Not by a task group: on Python 3.11 one cancellation can be lost, and it asks once.
            await stop_all(loops)
        ends = [loop.exception() for loop in loops if not loop.cancelled()]
        strange = [end for end in ends if end is not None and not isinstance(end, Died)]
        assert not strange, strange
        return any(ends)
    finally:
        await relayer.close()


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
async def test_killed_between_two_writes_the_next_one_goes_on(
    moment: Moment,
    environment: dict[str, str],
    chain: Chain,
    sensor: Sensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_of(environment | {"RELAYER_FOLD_AGE_S": "0.1"})
    deployment = load_deployment(settings.deployment)
    first = Relayer(settings, deployment)
    writing = asyncio.create_task(first.bus.write_forever())
    await first.watch.enter(0)
    sent = [sensor.report() for _ in range(3)]
    for report in sent:
        await first.bus.append(0, frame_of(0, [report]))
    writing.cancel()
    with dying(moment, monkeypatch):
        assert await live(first, lambda: False), "this moment never came"

    folder = tmp_path / "data"
    wanted = Counter(key_of(report) for report in sent)
    second = Relayer(settings, deployment)
    assert not await live(second, lambda: committed_reports(chain, folder) == wanted)
    assert committed_reports(chain, folder) == wanted
    assert_chain_and_files_agree(chain, folder)
