"""Accepts reports: body in, verdicts out, one durable frame in between."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from corechain.protocol.errors import Overloaded, ProtocolError, ReplayedSequence
from corechain.protocol.reading import SignedReport
from corechain.protocol.report_json import DeclaredReport
from corechain_relayer.bus.base import Bus
from corechain_relayer.bus.frame import pack_frame
from corechain_relayer.errors import BusFull, BusUnavailable
from corechain_relayer.gateway import intake
from corechain_relayer.gateway.book import SequenceBook
from corechain_relayer.gateway.intake import Decoded, Judge, Judged
from corechain_relayer.gateway.problem import answer, result
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.sequences import GATEWAY_WIDTH

INLINE_REPORTS = 4
"""Above this many reports verifying goes to a thread: it would hold the event loop too long."""


def _signed(item: Decoded) -> SignedReport | None:
    return item.signed if isinstance(item, DeclaredReport) else None


@dataclass(slots=True)
class Gateway:
    """The path of a request, without HTTP."""

    judge: Judge
    registry: RegistryFollower
    book: SequenceBook
    bus: Bus
    metrics: Metrics

    async def accept(self, media_type: str, body: bytes) -> JSONResponse:
        """The answer. Raises ProtocolError when the request as a whole is refused."""
        started = time.perf_counter()
        items = intake.decode(media_type, body)
        judged = self._without_repeats(await self._judge(items))
        accepted = [item for item in judged if isinstance(item, SignedReport)]
        if accepted:
            await self._keep(accepted)
            self.metrics.accept_seconds.observe(time.perf_counter() - started)
        return self._answer(items, judged)

    async def _judge(self, items: Sequence[Decoded]) -> list[Judged]:
        devices = intake.devices_of(items)
        await self.registry.refresh_for(devices)
        view, now = self.registry.view, time.time()
        if len(items) <= INLINE_REPORTS:
            judged = self.judge.judge(items, view, now)
        else:
            judged = await asyncio.to_thread(self.judge.judge, items, view, now)
        await self.book.load(intake.devices_of(judged))
        return judged

    def _without_repeats(self, judged: Sequence[Judged]) -> list[Judged]:
        """Refuses sequences that are durable already, or stand twice in this request."""
        here: set[tuple[bytes, int]] = set()
        return [self._fresh(item, here) for item in judged]

    def _fresh(self, item: Judged, here: set[tuple[bytes, int]]) -> Judged:
        if isinstance(item, ProtocolError):
            return item
        report = item.report
        try:
            self.book.window(report.device).check(report.device, report.sequence, GATEWAY_WIDTH)
        except ProtocolError as error:
            return error
        if (report.device, report.sequence) in here:
            return ReplayedSequence(report.device, report.sequence)
        here.add((report.device, report.sequence))
        return item

    async def _keep(self, accepted: Sequence[SignedReport]) -> None:
        """Returns when the reports are durable. Only then are they marked as seen: whoever is told
        ReplayedSequence may forget the report."""
        try:
            await self.bus.append(pack_frame(int(time.time() * 1000), accepted))
        except (BusFull, BusUnavailable) as error:
            raise Overloaded(str(error)) from error
        self.book.mark(accepted)
        self.metrics.reports_accepted.inc(len(accepted))
        self.metrics.observations_accepted.inc(sum(item.report.count for item in accepted))

    def _answer(self, items: Sequence[Decoded], judged: Sequence[Judged]) -> JSONResponse:
        errors = [item for item in judged if isinstance(item, ProtocolError)]
        for error in errors:
            self.metrics.reports_rejected.labels(error.name).inc()
        results: list[dict[str, Any]] = [
            result(_signed(item), verdict if isinstance(verdict, ProtocolError) else None)
            for item, verdict in zip(items, judged, strict=True)
        ]
        return answer(results, errors)
