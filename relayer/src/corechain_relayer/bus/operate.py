"""What an operator does with a bus: look at it, replay dead letters, empty it, move to another one.

Works on any bus, by what `base.py` promises. Each step may be repeated: what is appended twice is
counted once.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from corechain.protocol.frame import Columns
from corechain.protocol.lanes import lane_of_device
from corechain.service.supervision import stop_all
from corechain_relayer.bus.base import Bus, Consumer, DeadLetter, Delivery
from corechain_relayer.bus.frame import (
    MalformedFrame,
    PackedFrame,
    frame_of,
    open_frame,
    unpack_frame,
)

PAGE = 64
POLL_S = 0.5


@asynccontextmanager
async def working(bus: Bus) -> AsyncIterator[Bus]:
    """A bus that is fit, whose lanes are entered and which takes appends; closed at the end.

    Raises BusNotDurable, LanesMismatch, BusUnavailable.
    """
    writing = asyncio.create_task(bus.write_forever())
    try:
        await bus.inspect()
        for lane in range(bus.lanes):
            await bus.enter(lane)
        yield bus
    finally:
        await stop_all([writing])
        await bus.close()


# ------------------------------------------------------------------ looking


async def show(bus: Bus) -> list[dict[str, Any]]:
    """Each lane: what is not acknowledged (frames, bytes, age of the oldest in seconds), and how
    many dead letters there are of each reason."""
    await bus.look()
    return [await _shown(bus, lane) for lane in range(bus.lanes)]


async def _shown(bus: Bus, lane: int) -> dict[str, Any]:
    room = bus.rooms.lanes[lane]
    reasons: Counter[str] = Counter()
    async for page in bus.dead_letters(lane):
        reasons.update(letter.reason for letter in page)
    return {
        "lane": lane,
        "frames": room.frames,
        "bytes": room.bytes_kept,
        "oldest_s": await _oldest_s(bus, lane),
        "dead_letters": dict(sorted(reasons.items())),
    }


async def _oldest_s(bus: Bus, lane: int) -> float | None:
    """None where there is nothing, or where its head cannot be read."""
    async with aclosing(bus.backlog(lane)) as pages:  # type: ignore[type-var]
        async for page in pages:
            for delivery in page:
                return _age_s(delivery)
    return None


def _age_s(delivery: Delivery) -> float | None:
    try:
        received_at_ms = open_frame(delivery.payload).received_at_ms
    except MalformedFrame:
        return None
    # Forwarded and replayed frames may carry no time.
    return round(max(0.0, time.time() - received_at_ms / 1000), 1) if received_at_ms else None


# ------------------------------------------------------------------ dead letters


@dataclass(frozen=True, slots=True)
class Replayed:
    """Reports that are on their lanes again, and letters that stay: they hold no report, or are of
    other reasons than the one that was named."""

    reports: int
    unreadable: int
    left: Mapping[str, int]
    """By reason: whoever mistyped one sees what there is."""


async def replay(bus: Bus, reason: str | None, lanes: Iterable[int]) -> Replayed:
    """Appends the reports of dead letters to their lanes again, and forgets those letters."""
    reports, unreadable, left = 0, 0, Counter[str]()
    for lane in lanes:
        done: set[str] = set()
        async for page in bus.dead_letters(lane):
            for letter in page:
                if reason not in (None, letter.reason):
                    left[letter.reason] += 1
                    continue
                replayed = await _replay(bus, letter)
                reports, unreadable = reports + (replayed or 0), unreadable + (replayed is None)
                done |= {letter.id} if replayed is not None else set()
        await bus.forget_dead_letters(lane, done)
    return Replayed(reports, unreadable, dict(sorted(left.items())))


async def _replay(bus: Bus, letter: DeadLetter) -> int | None:
    """How many reports were appended; None where there are none to be read."""
    try:
        frame = unpack_frame(letter.payload)
    except MalformedFrame:
        return None
    now_ms = int(time.time() * 1000)
    for signed in frame.reports:
        # Nobody vouches for it: the aggregator checks the signature again.
        lane = lane_of_device(signed.report.device, bus.lanes)
        await bus.append(lane, frame_of(now_ms, [signed]), limited=False)
    return len(frame.reports)


# ------------------------------------------------------------------ emptying and moving


async def drain(bus: Bus, timeout_s: float) -> int:
    """Waits until all is acknowledged by aggregators; how many frames are left."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = await bus.depth()
        if not left or time.monotonic() >= deadline:
            return left
        await asyncio.sleep(POLL_S)


async def move(old: Bus, new: Bus) -> Mapping[str, int]:
    """Brings frames and dead letters to another bus with as many lanes. No aggregator may read the
    old one meanwhile: the caller holds the lanes' locks."""
    moved = Counter(frames=0, dead_letters=0)
    async with AsyncExitStack() as stack:
        for lane in range(old.lanes):
            consumer = await stack.enter_async_context(aclosing(old.consumer(lane)))
            await consumer.open()
            moved["frames"] += await _move_frames(consumer, new, lane)
            moved["dead_letters"] += await _move_letters(old, new, lane)
    return moved


async def _move_frames(consumer: Consumer, new: Bus, lane: int) -> int:
    moved = 0
    while await consumer.depth():
        for delivery in await consumer.read(PAGE, POLL_S):
            await _move_frame(delivery, new, lane)
            await consumer.ack([delivery.id])
            moved += 1
    return moved


async def _move_frame(delivery: Delivery, new: Bus, lane: int) -> None:
    columns: Columns
    try:
        columns = open_frame(delivery.payload).columns
    except MalformedFrame as error:
        await new.keep_dead_letter(lane, delivery.payload, error.name)
        return
    # Byte for byte, on the lane of the same number: its seal stays good.
    await new.append(lane, PackedFrame(delivery.payload, columns), limited=False)


async def _move_letters(old: Bus, new: Bus, lane: int) -> int:
    done: set[str] = set()
    async for page in old.dead_letters(lane):
        for letter in page:
            await new.keep_dead_letter(lane, letter.payload, letter.reason)
            done.add(letter.id)
    await old.forget_dead_letters(lane, done)
    return len(done)
