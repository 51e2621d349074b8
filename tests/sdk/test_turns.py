"""Turns: one at a time, in order, whoever waits where, and whatever becomes of who waits."""

import asyncio
import os
import resource
import tempfile
import threading
import time

import pytest
from support.limits import within
from support.processes import PATIENCE_S

from corechain import process_turns
from corechain.turns import Turns


def test_threads_take_turns():
    turns, inside, most = Turns(), 0, 0

    def work():
        nonlocal inside, most
        for _ in range(50):
            with turns.taken():
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (most, inside) == (1, 0)


def test_tasks_of_several_loops_and_threads_take_turns():
    turns, order, inside = Turns(), [], []

    async def work(name):
        async with turns.awaited():
            inside.append(name)
            assert inside == [name]
            await asyncio.sleep(0)
            inside.pop()
            order.append(name)

    async def many(first):
        await asyncio.gather(*(work(first + i) for i in range(20)))

    threads = [threading.Thread(target=lambda k=k: asyncio.run(many(100 * k))) for k in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        with turns.taken():
            assert inside == []
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(order) == 60


async def test_who_waits_in_one_loop_comes_in_order():
    turns, order = Turns(), []

    async def work(number):
        async with turns.awaited():
            order.append(number)
            await asyncio.sleep(0.001)

    await asyncio.gather(*map(work, range(30)))
    assert order == list(range(30))


async def test_a_waiter_that_is_cancelled_holds_nobody_up():
    turns = Turns()

    async def wait():
        async with turns.awaited():
            return True

    async with turns.awaited():
        waiting = [asyncio.create_task(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    # Its turn has come, but it has not run yet: the turn must not be lost with it.
    waiting[1].cancel()
    assert await within(PATIENCE_S, waiting[2])


def test_a_loop_that_was_closed_under_its_tasks_holds_nobody_up():
    turns, loop = Turns(), asyncio.new_event_loop()

    async def wait():
        async with turns.awaited():
            raise AssertionError("a closed loop has run")

    with turns.taken():
        task = loop.create_task(wait())
        loop.run_until_complete(asyncio.sleep(0))
        # Neither cancelled nor awaited: what a notebook does that drops its loop.
        task._log_destroy_pending = False
        loop.close()
    with turns.taken():
        pass
    task.get_coro().close()


def test_a_child_process_does_not_wait_for_turns_of_its_parent():
    turns = Turns()
    with turns.taken():
        child = os.fork()
        if child == 0:
            with turns.taken():
                os._exit(0)
        deadline = time.monotonic() + PATIENCE_S
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
            assert time.monotonic() < deadline, "the child waits for ever"
            time.sleep(0.01)
    assert done[1] == 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_turn_between_processes_is_exclusive_and_ends_also_where_a_child_has_the_file(folder):
    with process_turns.process_turn(b"name"):
        child = os.fork()
        if child == 0:
            # The parent's end, or this one's, must not keep the other waiting for ever.
            with process_turns.process_turn(b"name"):
                os._exit(0)
        time.sleep(0.05)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    assert os.waitpid(child, 0)[1] == 0
    assert [place.stat().st_mode & 0o077 for place in folder.iterdir()] == [0]


def test_who_waits_too_long_or_has_no_place_for_a_file_goes_on_without(folder, monkeypatch):
    monkeypatch.setattr(process_turns, "PATIENCE_S", 0.0)

    async def awaited():
        async with process_turns.awaited_process_turn(b"name"):
            return True

    with process_turns.process_turn(b"name"), process_turns.process_turn(b"name"):
        assert asyncio.run(awaited())
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "none" / "there"))
    with process_turns.process_turn(b"name"):
        pass
    # Python looks for a folder, and tries to write there: not on this disk, which is full.
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(FileNotFoundError):
            tempfile.gettempdir()
        with process_turns.process_turn(b"name"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_of_another_user_is_not_used(folder, monkeypatch):
    other = os.getuid() + 1
    (folder / f"corechain-{other}").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: other)
    with process_turns.process_turn(b"name"):
        assert list(next(folder.iterdir()).iterdir()) == []
