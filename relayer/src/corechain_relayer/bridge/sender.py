"""From the queue to the gateway: in order, the same bytes until the gateway holds them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

import structlog

from corechain.documents import MalformedAnswer
from corechain.http import traceparent
from corechain.protocol.errors import CoreChainError, ProtocolError, TransportError
from corechain.protocol.reading import SignedReport, unpack_report
from corechain.service.errors import Halt
from corechain.service.reasons import reason_of
from corechain.service.tracing import TRACE_BYTES, Context, Span, traceparent_of
from corechain.service.workers import Workers
from corechain.steps import ApiUnavailable
from corechain_relayer.bridge.metrics import Metrics
from corechain_relayer.bridge.settings import Settings
from corechain_relayer.bridge.store import BridgeStore, Queued, Verdict

if TYPE_CHECKING:
    from corechain.async_client import AsyncClient

log = structlog.get_logger(__name__)

HELD = "ReplayedSequence"
"""The gateway has it already: the answer to an earlier attempt was lost."""
UNKNOWN = "UnknownDevice"
FORGED = "InvalidSignature"
AWAY = "Unavailable"
"""The gateway cannot ask the chain now about devices that it does not know. It takes the others."""
AWAY_PAUSE_S = 5.0
"""Until a station with that answer is asked about again: the node may be back at any moment."""
# What a gateway says of a report and will say again. Any other name decides nothing: it is waited
# out, as an outage is.
FINAL = frozenset(
    (
        "RevokedDevice",
        "ConflictingSequence",
        "StaleSequence",
        "SequenceOutOfReach",
        "FutureTimestamp",
        "TimestampTooOld",
        "ValueOutOfRange",
        "UnknownMetric",
        "InvalidCell",
        "MalformedReport",
    )
)
IDLE_S = 1.0
"""Reports of other processes of the bridge (`import`) are noticed so late."""


class GatewayUnavailable(TransportError):
    """The gateway gave no answer that decides anything. `wait_s`: for how long it asks to be left
    alone."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def gateway_away(error: CoreChainError) -> GatewayUnavailable:
    """Without its address: `/ready` of the bridge shows it."""
    wait_s = getattr(error, "retry_after_s", None) or 0.0
    return GatewayUnavailable(f"the gateway: {reason_of(error)}", wait_s)


class WrongDeployment(Halt):
    """The gateway takes our signatures for another network's."""

    def __init__(self) -> None:
        super().__init__(
            "the gateway says that our signatures are wrong: BRIDGE_DEPLOYMENT is not the manifest "
            "of the gateway's network; nothing is lost, set it right and start the bridge again"
        )


@dataclass(slots=True)
class Sender:
    """One session after the other; what is not settled is still in the queue."""

    settings: Settings
    store: BridgeStore
    client: "AsyncClient"
    worker: Workers
    metrics: Metrics
    work: asyncio.Event
    clock: Callable[[], float] = field(default=time.monotonic)
    _unknown: dict[int, float] = field(default_factory=dict)
    """When to ask about a station again that the gateway did not know."""
    _away: dict[int, float] = field(default_factory=dict)
    """The same of one that the gateway could not look up."""

    async def send_forever(self) -> None:
        """Raises GatewayUnavailable, StoreUnavailable, WrongDeployment."""
        while True:
            self.work.clear()
            while await self.send_some():
                pass
            try:
                async with asyncio.timeout(IDLE_S):
                    await self.work.wait()
            except TimeoutError:
                continue

    async def send_some(self) -> bool:
        """Sends the oldest reports that may go now; whether there were any."""
        queued = await self.worker.run(self.store.head, self.settings.send_reports, self._asleep())
        await self._show()
        if not queued:
            return False
        verdicts = await self._sent(of_one_trace(queued))
        await self.worker.run(self.store.settle, verdicts, int(time.time()))
        await self._show()
        return True

    async def _sent(self, queued: Sequence[Queued]) -> list[Verdict]:
        """What is decided of them; reports of an upload that is followed go with its trace."""
        followed = context_in(queued[0].trace)
        if followed is None:
            return self._with_reasons(queued, await self._send(queued))
        own = followed.child()
        token = traceparent.set(traceparent_of(own).decode())
        try:
            verdicts = self._with_reasons(queued, await self._send(queued))
        finally:
            traceparent.reset(token)
        if verdicts:  # else they wait, and go again
            began, facts = float(queued[0].created_at), {"corechain.reports": len(queued)}
            times = began, time.time()
            span = Span("bridge", "reports to gateway", own, *times, followed.span, facts=facts)
            self.metrics.traces.emit(span)
        return verdicts

    def _asleep(self) -> list[int]:
        now = self.clock()
        self._unknown = {one: until for one, until in self._unknown.items() if until > now}
        self._away = {one: until for one, until in self._away.items() if until > now}
        self.metrics.unknown.set(len(self._unknown))
        return [*self._unknown, *self._away]

    async def _send(self, queued: Sequence[Queued]) -> list[str | None]:
        """The name of each refusal; None for what the gateway holds."""
        reports = [_report(item) for item in queued]
        try:
            deliveries = await self.client.send_reports(reports)
        except MalformedAnswer as error:
            raise gateway_away(error) from error
        except ProtocolError as error:
            return await self._send_halves(queued, error)
        except TransportError as error:
            # One answer for all: else a station that is not registered, with many reports at the
            # head of the queue, would hold up all others for as long as the node is away.
            if isinstance(error, ApiUnavailable) and error.problem == AWAY:
                return [AWAY] * len(queued)
            raise gateway_away(error) from error
        return [None if one.accepted else one.error or "" for one in deliveries]

    async def _send_halves(
        self, queued: Sequence[Queued], error: ProtocolError
    ) -> list[str | None]:
        """One error for all of them, or for the request: a request of one tells which."""
        if len(queued) == 1:
            return [error.name]
        middle = len(queued) // 2
        first = await self._send(queued[:middle])
        return first + await self._send(queued[middle:])

    def _with_reasons(self, queued: Sequence[Queued], names: Sequence[str | None]) -> list[Verdict]:
        """What is decided. Raises GatewayUnavailable for an answer that decides nothing at all."""
        verdicts, undecided = [], set[str]()
        for item, name in zip(queued, names, strict=True):
            if name is None or name == HELD:
                self.metrics.sent.inc()
                verdicts.append(Verdict(item.id))
            elif name in FINAL:
                self._refuse(item, name)
                verdicts.append(Verdict(item.id, name))
            elif name == UNKNOWN:
                self._wait_for(item)
            elif name == AWAY:
                self._away[item.station] = self.clock() + AWAY_PAUSE_S
            elif name == FORGED:
                raise WrongDeployment
            else:
                undecided.add(name)
        if undecided and not verdicts:
            raise GatewayUnavailable(f"the gateway says {', '.join(sorted(undecided))}")
        return verdicts

    def _refuse(self, item: Queued, name: str) -> None:
        self.metrics.lost.labels(name).inc()
        report = _report(item).report
        device = "0x" + report.device.hex()
        log.warning("report refused for good", device=device, sequence=report.sequence, reason=name)

    def _wait_for(self, item: Queued) -> None:
        if item.station not in self._unknown:
            device = "0x" + _report(item).report.device.hex()
            log.warning("the gateway does not know a station yet", device=device)
        self._unknown[item.station] = self.clock() + self.settings.unknown_pause_s
        self.metrics.unknown.set(len(self._unknown))

    async def _show(self) -> None:
        depth = await self.worker.run(self.store.depth)
        oldest = await self.worker.run(self.store.oldest)
        self.metrics.queue.set(depth)
        self.metrics.oldest.set(0 if oldest is None else max(0.0, time.time() - oldest))

    def warnings(self) -> list[str]:
        """What an operator has to do though the bridge does its work."""
        found = []
        if self._unknown:
            found.append(
                f"{len(self._unknown)} stations are not in the registry as the gateway knows it: "
                "`corechain bridge station register`; their reports wait"
            )
        if self._away:
            found.append(
                f"the gateway cannot look up {len(self._away)} stations while its node is away; "
                "their reports wait"
            )
        return found


def of_one_trace(queued: Sequence[Queued]) -> Sequence[Queued]:
    """Those at the head that may share a request: it has one trace, or none."""
    first = queued[0].trace
    return [*takewhile(lambda item: item.trace == first, queued)]


def context_in(trace: bytes | None) -> Context | None:
    return None if trace is None else Context(trace[:TRACE_BYTES], trace[TRACE_BYTES:])


def _report(item: Queued) -> SignedReport:
    return unpack_report(item.report)[0]
