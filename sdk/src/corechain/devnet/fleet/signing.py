"""Signs a fleet's reports into a file, with several processes: about 35 µs of CPU a report."""

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from corechain.devnet.fleet.head import Head
from corechain.devnet.fleet.keys import fleet_key
from corechain.devnet.fleet.replay import Replay
from corechain.devnet.fleet.shape import Shape
from corechain.devnet.fleet.signed_file import create
from corechain.held_files import held
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import DeviceId, Report

# Half a second of work: progress moves, and what a task holds stays small.
TASK_REPORTS = 16_384
# 22 µs each.
TASK_DEVICES = 8_192
Progress = Callable[[int], None]
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Order:
    """All that decides the bytes of a file. `name` is the fleet's: its keys follow from it."""

    name: str
    chain_id: int
    registry: bytes
    replay: Replay
    key_type: KeyType = KeyType.SECP256K1


@dataclass(frozen=True, slots=True)
class Task:
    """Some turns of some devices."""

    devices: range
    turns: range

    @property
    def reports(self) -> int:
        return len(self.devices) * len(self.turns)


def tasks_of(shape: Shape) -> Iterator[Task]:
    """Each report in exactly one task."""
    turns_each = min(shape.reports, TASK_REPORTS)
    devices_each = max(1, TASK_REPORTS // turns_each)
    for first in range(0, shape.devices, devices_each):
        devices = range(first, min(first + devices_each, shape.devices))
        for turn in range(0, shape.reports, turns_each):
            yield Task(devices, range(turn, min(turn + turns_each, shape.reports)))


def device_ids(name: str, key_type: KeyType, first: int, end: int) -> list[DeviceId]:
    return [fleet_key(name, number, key_type).identity.device for number in range(first, end)]


def all_device_ids(name: str, key_type: KeyType, devices: int, pool: Executor) -> list[DeviceId]:
    """In order of their numbers."""
    parts = [
        pool.submit(device_ids, name, key_type, first, min(first + TASK_DEVICES, devices))
        for first in range(0, devices, TASK_DEVICES)
    ]
    return [device for part in parts for device in part.result()]


def _records(order: Order, task: Task) -> dict[tuple[int, int], bytes]:
    """The packed report of each (device, turn)."""
    domain, records = registry_domain(order.chain_id, order.registry), {}
    first_sequence = order.replay.shape.first_sequence
    for device in task.devices:
        key = fleet_key(order.name, device, order.key_type)
        identity = key.identity.device
        for turn in task.turns:
            packed = b"".join(item.pack() for item in order.replay.observations(device, turn))
            report = Report(identity, first_sequence + turn, packed)
            records[device, turn] = report.body() + key.sign(report_digest(domain, report))
    return records


def sign_task(order: Order, task: Task, path: Path, offset: int) -> int:
    """Writes the reports of a task to their places; how many they are."""
    records, shape = _records(order, task), order.replay.shape
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for keys in _contiguous(shape, task):
            number = shape.number(keys[0][0], shape.first_sequence + keys[0][1])
            assert number is not None
            chunk = b"".join(records[key] for key in keys)
            os.pwrite(descriptor, chunk, offset + number * shape.record_bytes)
    finally:
        os.close(descriptor)
    return task.reports


def _contiguous(shape: Shape, task: Task) -> Iterator[list[tuple[int, int]]]:
    """The task's reports in runs that lie behind each other in the file."""
    if shape.by_device:
        yield from ([(device, turn) for turn in task.turns] for device in task.devices)
    else:
        yield from ([(device, turn) for device in task.devices] for turn in task.turns)


class _Here(Executor):
    """Does the work at once, in this process: to start another one takes a second."""

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(call(*args, **kwargs))
        return done


def jobs_for(items: int) -> int:
    """How many processes to use for so many signatures or seals: one a core, if there is enough to
    do that starting them pays."""
    return min(os.cpu_count() or 1, 1 + items // TASK_REPORTS)


def _end_with_parent() -> None:
    """In a worker: ends the process when its parent is gone, however that died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    # Not sys.exit, which would end this thread alone. What the worker was at is of no use any more.
    os._exit(1)


def _watch_parent() -> None:
    # A pool does not do this: each worker holds both ends of the pipe that its tasks come through,
    # so it waits for the next one for ever. Not PR_SET_PDEATHSIG: Linux alone has it, and it means
    # the thread that made the worker, not the process.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def worker_pool(jobs: int) -> Executor:
    """So many processes, which end with this one; for one job none, the work is done here."""
    if jobs == 1:
        return _Here()
    # Not forked: the parent may have threads, and a lock that one of them held stays locked.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_watch_parent)


def sign_file(order: Order, path: Path, jobs: int, progress: Progress = lambda done: None) -> Head:
    """Writes the file; `progress` hears how many reports were signed since it last did.

    The file gets its name when it is whole: an interrupted run leaves nothing that looks like one.
    Raises FileInUse while another run signs it, OSError.
    """
    shape, part = order.replay.shape, path.with_name(path.name + ".part")
    with held(part), worker_pool(jobs) as pool:
        devices = all_device_ids(order.name, order.key_type, shape.devices, pool)
        head = Head(order.chain_id, order.registry, order.key_type, shape, devices)
        try:
            offset = create(part, head)
            tasks = [pool.submit(sign_task, order, task, part, offset) for task in tasks_of(shape)]
            for done in as_completed(tasks):
                progress(done.result())
            part.replace(path)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            part.unlink(missing_ok=True)
            raise
    return head
