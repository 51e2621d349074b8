"""Threads for steps that may hang: as many as are needed, and no step is lost or done twice."""

import asyncio
import threading

import pytest

from corechain.service.workers import LooseWorkers


async def test_steps_run_side_by_side_as_far_as_there_are_threads() -> None:
    workers, gate, names = LooseWorkers("test", 2), threading.Barrier(2), set[str]()

    def together() -> int:
        names.add(threading.current_thread().name)
        gate.wait()
        return 7

    assert await asyncio.gather(*(workers.run(together) for _ in range(6))) == [7] * 6
    assert names == {"test 1", "test 2"}
    workers.close()


async def test_what_a_step_raises_is_told_and_the_thread_goes_on() -> None:
    workers, names = LooseWorkers("test", 9), set[str]()

    def broken() -> None:
        names.add(threading.current_thread().name)
        raise OSError("gone")

    for _ in range(3):
        with pytest.raises(OSError, match="gone"):
            await workers.run(broken)
    assert len(names) < 9
    workers.close()


async def test_a_hung_step_keeps_back_only_those_who_wait_for_it() -> None:
    workers, hung, done = LooseWorkers("test", 1), threading.Event(), list[int]()
    first = asyncio.ensure_future(workers.run(hung.wait))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(workers.run(lambda: done.append(1)))
    await asyncio.sleep(0)
    second.cancel()  # as by a limit: it is not done later
    workers.close()
    hung.set()
    assert await first
    with pytest.raises(asyncio.CancelledError):
        await second
    assert done == []
