"""The node of a process, or the nodes that must agree: made, measured, and asked in time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from corechain.service.depth import DepthRpc
from corechain.service.members import Member
from corechain.service.node_names import legend_of
from corechain.service.quorum import Quorum
from corechain.service.rpc import Questions, Rpc

if TYPE_CHECKING:
    from prometheus_client import Gauge


def node_at(
    urls: Sequence[str],
    quorum: int,
    timeout_s: float,
    max_lag: int,
    noticed: Callable[[int, str], None] = lambda number, reason: None,
    chain_id: int | None = None,
    by_depth: bool = False,
) -> Questions:
    """The node, or the nodes that must agree, each of which must serve this chain. `by_depth`: they
    are not asked what is final."""
    node = DepthRpc if by_depth else Rpc
    if len(urls) == 1:
        return node(urls[0], timeout_s)
    return Quorum(urls, quorum, timeout_s, max_lag, noticed, chain_id=chain_id, node=node)


def in_time(rpc: Questions, few_after_s: float) -> Questions:
    """The same for who has a deadline (`Quorum.in_time`); 0: they too wait for enough nodes."""
    return rpc.in_time(few_after_s) if few_after_s and isinstance(rpc, Quorum) else rpc


def is_by_few(rpc: Questions) -> bool:
    """Whether fewer nodes than must agree are believed now."""
    return isinstance(rpc, Quorum) and rpc.is_by_few


def told_by_few(rpc: Questions) -> int:
    """How many answers were believed though fewer nodes gave them than must agree."""
    return rpc.told_by_few if isinstance(rpc, Quorum) else 0


def which_is_which(rpc: Questions) -> str:
    """For an operator, whom errors tell the numbers of nodes; empty for one node."""
    return legend_of(rpc.places) if isinstance(rpc, Quorum) else ""


def measured(rpc: Questions, in_use: "Gauge", heads: "Gauge", lost: "Gauge") -> None:
    """Shows who is left out, how far each is, and for how long too few have said the same, whenever
    somebody looks. Of a single node nothing: it is a probe of `/ready`."""
    if not isinstance(rpc, Quorum):
        return
    lost.set_function(rpc.unsure_s)
    for member in rpc.members:
        in_use.labels(str(member.number)).set_function(partial(_in_use, member))
        heads.labels(str(member.number)).set_function(partial(_head, member))


def _in_use(member: Member) -> float:
    return float(member.standing.is_trusted)


def _head(member: Member) -> float:
    return float(max(0, member.height))
