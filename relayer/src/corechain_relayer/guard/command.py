"""`corechain relayer demands`: what is demanded of our lane, and how it stands with the answers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from corechain.deployment import Deployment
from corechain.protocol.errors import TransportError
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Block
from corechain_relayer.chain_settings import on_chain
from corechain_relayer.guard.alerts import Alerts
from corechain_relayer.guard.answers import Unanswerable
from corechain_relayer.guard.chain import DisputesContract
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.guard.parts import Parts, new_guard
from corechain_relayer.guard.service import Guard, Look
from corechain_relayer.guard.trials import Outcome
from corechain_relayer.journal_settings import DemandsSettings
from corechain_relayer.kept_views import kept_logs
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.wiring import check_chain, pool_of, rpc_of

NOBODY = bytes(19) + b"\1"
"""Who asks the contract whether it would take an answer: anyone may give one."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A demand with what became of its answer."""

    demand: OpenDemand
    left_s: int
    answer: str

    def row(self) -> dict[str, Any]:
        """For JSON. `left_s` in seconds of chain time, negative when it is too late."""
        until = datetime.fromtimestamp(self.demand.deadline, UTC)
        return {
            "demand": "0x" + self.demand.id.hex(),
            "kind": self.demand.kind_name,
            "batch": None if self.demand.report else self.demand.batch_id,
            "report": self.demand.what if self.demand.report else None,
            "deadline": until.isoformat(),
            "left_s": self.left_s,
            "answer": self.answer,
        }


async def _answers(guard: Guard, looks: Sequence[Look]) -> dict[bytes, str]:
    """By demand: how it stands with its answer, in a few words. Raises the first outage."""
    found = {
        look.demand.id: f"on its way: {look.covering[-1].state}" for look in looks if look.covering
    }
    others = [look.demand for look in looks if not look.covering]
    async for outcomes in guard.trials.of(others):
        found |= {outcome.demand.id: _said(outcome) for outcome in outcomes}
    return found


def _said(outcome: Outcome) -> str:
    if isinstance(outcome.error, Unanswerable):
        return f"none: {outcome.error}"
    if outcome.error is not None:
        raise outcome.error
    return "closed meanwhile" if outcome.call is None else "ready, not recorded yet"


async def _looks(guard: Guard) -> Sequence[Look]:
    """Without the journal it cannot be known which answers are on their way: the rest can."""
    try:
        return await guard.look()
    except TransportError:
        view = guard.follower.view
        return [Look.at(demand, (), view) for demand in view.by_urgency()]


async def _standings(guard: Guard) -> list[Standing]:
    await guard.follower.refresh_since(time.monotonic())
    head: Block | None = guard.follower.seen
    if head is None:
        raise NodeUnavailable("the node is behind")
    looks = await _looks(guard)
    answers = await _answers(guard, looks)
    return [
        Standing(look.demand, look.demand.deadline - head.timestamp, answers[look.demand.id])
        for look in looks
    ]


async def open_demands(settings: DemandsSettings, deployment: Deployment) -> list[Standing]:
    """The open demands of our lane, the most urgent first. Records and sends nothing.

    Raises NodeUnavailable, NodeRefused, WrongNode.
    """
    settings = on_chain(settings, deployment.chain_id)
    rpc = rpc_of(settings, deployment.chain_id)
    pool, metrics = pool_of(settings), Metrics()
    registry = RegistryFollower(
        rpc,
        deployment.contracts["DeviceRegistry"],
        RegistryView,
        settings.poll_s,
        settings.log_range_blocks,
        metrics,
        settings.confirmations,
        kept_logs(pool, deployment, "DeviceRegistry", rpc),
        chain_id=deployment.chain_id,
    )
    parts = Parts(settings, deployment, rpc, pool, registry, metrics, Alerts(metrics))
    try:
        await pool  # asyncpg's way to open it; connects to nothing yet
        await check_chain(rpc, deployment.chain_id)
        guard = await new_guard(parts, DisputesContract(rpc, deployment, NOBODY))
        return await _standings(guard)
    finally:
        await rpc.close()
        await pool.close()
