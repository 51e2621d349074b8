"""Accepts reports: body in, verdicts out, one durable frame a lane in between."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from corechain.protocol.errors import ProtocolError, SequenceOutOfReach, Unavailable
from corechain.protocol.lanes import lane_of_device
from corechain.protocol.reading import U64_MAX, DeviceId, SignedReport
from corechain.protocol.report_json import DeclaredReport
from corechain.service.errors import StoreUnavailable
from corechain_relayer.bus.valkey import ValkeyBus
from corechain_relayer.errors import BusNotDurable, BusUnavailable
from corechain_relayer.gateway import intake
from corechain_relayer.gateway.gate import LaneGate
from corechain_relayer.gateway.intake import Decoded, Judge, Judged
from corechain_relayer.gateway.problem import answer, result
from corechain_relayer.journal.reader import JournalReader
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower

INLINE_REPORTS = 4
"""Above this many reports verifying goes to a thread: it would hold the event loop too long."""


def _signed(item: Decoded) -> SignedReport | None:
    return item.signed if isinstance(item, DeclaredReport) else None


@dataclass(slots=True)
class Gateway:
    """The path of a request, without HTTP."""

    judge: Judge
    registry: RegistryFollower
    gates: Sequence[LaneGate]
    bus: ValkeyBus
    journal: JournalReader
    metrics: Metrics

    async def accept(self, media_type: str, body: bytes) -> JSONResponse:
        """The answer. Raises ProtocolError when the request as a whole is refused."""
        started = time.perf_counter()
        items = intake.decode(media_type, body)
        judged = await self._keep(await self._judge(items))
        if any(isinstance(item, SignedReport) for item in judged):
            self.metrics.accept_seconds.observe(time.perf_counter() - started)
        return self._answer(items, judged)

    async def _judge(self, items: Sequence[Decoded]) -> list[Judged]:
        await self.registry.refresh_for(intake.devices_of(items))
        self.registry.require()
        view, now = self.registry.view, time.time()
        if len(items) <= INLINE_REPORTS:
            return self.judge.judge(items, view, now)
        return await asyncio.to_thread(self.judge.judge, items, view, now)

    async def _keep(self, judged: Sequence[Judged]) -> list[Judged]:
        """Brings each lane's reports to its own stream. A lane that fails refuses its reports, and
        only those: sending the whole request again does no harm."""
        places: dict[int, list[int]] = {}
        for place, item in enumerate(judged):
            if isinstance(item, SignedReport):
                lane = lane_of_device(item.report.device, len(self.gates))
                places.setdefault(lane, []).append(place)
        groups = [[judged[place] for place in group] for group in places.values()]
        taken = await asyncio.gather(
            *(
                self.gates[lane].take([item for item in group if isinstance(item, SignedReport)])
                for lane, group in zip(places, groups, strict=True)
            )
        )
        outcome = list(judged)
        for group_places, verdicts in zip(places.values(), taken, strict=True):
            for place, verdict in zip(group_places, verdicts, strict=True):
                outcome[place] = verdict
        return outcome

    async def next_sequence(self, device: DeviceId) -> int:
        """The first sequence that the device has never used, as journal and bus know, whichever
        gateway took its reports. Raises Unavailable, UnknownDevice, SequenceOutOfReach."""
        await self.registry.refresh_for([device])
        self.registry.require()
        self.registry.view.identity(device)
        try:
            newest = await self._newest(device)
        except (StoreUnavailable, BusUnavailable, BusNotDurable) as error:
            raise Unavailable(f"the device's sequences are not known: {error}") from error
        if newest + 1 >= U64_MAX:
            raise SequenceOutOfReach(device, newest + 1, U64_MAX - 1)
        return newest + 1

    async def _newest(self, device: DeviceId) -> int:
        if await self.bus.undivided():
            raise Unavailable("frames of an earlier version are still to be divided by lane")
        # The bus first: what a batch takes from it in between is in the journal.
        lanes = max(len(self.gates), await self.journal.most_lanes())
        on_bus = await self.bus.newest(device, lanes)
        committed = await self.journal.newest(device)
        return max(-1 if on_bus is None else on_bus, -1 if committed is None else committed)

    def _answer(self, items: Sequence[Decoded], judged: Sequence[Judged]) -> JSONResponse:
        errors = [item for item in judged if isinstance(item, ProtocolError)]
        for error in errors:
            self.metrics.reports_rejected.labels(error.name).inc()
        results: list[dict[str, Any]] = [
            result(_signed(item), verdict if isinstance(verdict, ProtocolError) else None)
            for item, verdict in zip(items, judged, strict=True)
        ]
        return answer(results, errors)
