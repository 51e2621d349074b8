"""Reports that may have come before are looked at closely, and only so many at a time.

given a gateway behind whose closer looks too many frames wait
  what needs one more is refused, and told when to come again; what is new is taken
  when they are done, the next ones are looked at
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from support.processes import PATIENCE_S

from corechain.protocol.errors import Overloaded
from corechain.protocol.frame import Columns
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.service.workers import Workers
from corechain_relayer.gateway.frames import CLOSER_LOOKS_RETRY_S, MOST_CLOSER_LOOKS, FrameWork
from corechain_relayer.gateway.gate import Taken
from corechain_relayer.gateway.gather import Outcome, Waiting
from corechain_relayer.gateway.intake import Fault


class Doubting:
    """A lane to which even sequences are new and odd ones doubtful, until `go`; and a judge who
    finds no fault."""

    lane, view = 0, None

    def __init__(self) -> None:
        self.go = asyncio.Event()

    def faults(self, columns: Columns, view: object, now: float) -> list[Fault]:
        return [None] * len(columns)

    async def take_new(self, columns: Columns) -> Taken:
        odd = [index for index, sequence in enumerate(columns.sequences) if sequence % 2]
        return Taken([None] * len(columns), odd)

    async def take_doubtful(self, columns: Columns) -> list[Fault]:
        await self.go.wait()
        return [None] * len(columns)


def waiting(sequences: Sequence[int], answers: list[Outcome]) -> Waiting:
    items = [Observation(1, 5, 1_000, 7)]
    reports = [
        SignedReport(Report.of(DeviceId(bytes(20)), sequence, items), bytes(64))
        for sequence in sequences
    ]
    packed = b"".join(report.pack() for report in reports)
    return Waiting(packed, len(reports), answers.append)


async def test_only_so_many_frames_wait_for_a_closer_look() -> None:
    lane = Doubting()
    parts: Any = lane
    work = FrameWork(parts, parts, [parts], Workers("test", 1))
    answers: list[Outcome] = []
    for _ in range(MOST_CLOSER_LOOKS):
        await work.run([waiting([1], answers)])
    assert answers == []
    refused: list[Outcome] = []
    await work.run([waiting([2, 3], refused), waiting([4], refused)])
    faults = [fault for outcome in refused if isinstance(outcome, list) for fault in outcome]
    assert [type(fault) for fault in faults] == [type(None), Overloaded, type(None)]
    assert isinstance(faults[1], Overloaded)
    assert faults[1].retry_after_s == CLOSER_LOOKS_RETRY_S
    lane.go.set()
    async with asyncio.timeout(PATIENCE_S):
        while len(answers) < MOST_CLOSER_LOOKS:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await work.run([waiting([5], answers)])
        while len(answers) <= MOST_CLOSER_LOOKS:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert answers == [[None]] * (MOST_CLOSER_LOOKS + 1)
