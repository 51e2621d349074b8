"""Several nodes of a chain where each has a say of its own: its pool, its fees, its estimates.

What must be believed of the chain comes from nodes that agree (`corechain.service.quorum`).
"""

import asyncio
from collections.abc import Sequence

from corechain.rpc_errors import INVALID, RpcFailure, classify_rpc_failure
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.quorum import Quorum
from corechain.service.rpc import Call, Questions

GRACE_S = 1.0
"""Others are waited for so long once one has answered: a node that hangs costs no more a round."""

Answer = object
"""A result, or the NodeRefused in its place."""


def nodes_of(rpc: Questions) -> list[Questions]:
    """Those that are asked one by one: without those that lie, lag or are silent, unless all do."""
    if not isinstance(rpc, Quorum):
        return [rpc]
    trusted = [member for member in rpc.members if member.standing.is_trusted]
    return [member.rpc for member in trusted or rpc.members]


async def ask_each(rpc: Questions, calls: Sequence[Call]) -> list[list[Answer]]:
    """What each node that answers in time says to some calls. Raises NodeUnavailable when none
    does."""
    return (await ask_all(rpc, calls, GRACE_S))[0]


async def ask_all(
    rpc: Questions, calls: Sequence[Call], grace_s: float | None = None
) -> tuple[list[list[Answer]], bool]:
    """The same, and whether every node did answer, of those that are not left out: of what each
    has for itself, as its pool, one that is silent may say another thing. Without `grace_s` each is
    given all its time: one that is slow is not silent."""
    nodes = nodes_of(rpc)
    if len(nodes) == 1:
        return [await nodes[0].call_all(calls)], True
    tasks = {asyncio.create_task(node.call_all(calls)) for node in nodes}
    try:
        found = await _answered(tasks, grace_s)
        return found, len(found) == len(nodes)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answered(
    tasks: set["asyncio.Task[list[Answer]]"], grace_s: float | None
) -> list[list[Answer]]:
    found: list[list[Answer]] = []
    reasons: list[str] = []
    waiting, patience = tasks, None
    while waiting:
        done, waiting = await asyncio.wait(
            waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            break
        for task in done:
            try:
                found.append(task.result())
            except NodeUnavailable as error:
                reasons.append(str(error))
        patience = grace_s if found else None
    if not found:
        raise NodeUnavailable(f"none of {len(tasks)} nodes answers: {'; '.join(reasons)}")
    return found


def known_to_any(said: Sequence[Sequence[Answer]], place: int, complete: bool) -> bool:
    """Whether a node has a transaction, of what each said to eth_getTransactionByHash. Each has a
    pool of its own: one that is silent, or refuses to say, may be the one that took it. Raises
    NodeUnavailable where that leaves it open."""
    answers = [answers[place] for answers in said]
    if any(isinstance(answer, dict) for answer in answers):
        return True
    refusal = next((answer for answer in answers if isinstance(answer, NodeRefused)), None)
    if refusal is not None or not complete:
        why = "a node is silent" if refusal is None else str(refusal)
        raise NodeUnavailable(f"not all nodes say whether they have a transaction: {why}")
    return False


def taken_by_any(said: Sequence[Sequence[Answer]], place: int) -> NodeRefused | None:
    """What came of a transaction that was sent to several: None when one took it. Else the word of
    one that has it, or a refusal that time may cure: one node's limits are not another's."""
    answers = [answers[place] for answers in said]
    refusals = [answer for answer in answers if isinstance(answer, NodeRefused)]
    if len(refusals) < len(answers):
        return None
    for refusal in refusals:
        if classify_rpc_failure(refusal.message) is RpcFailure.ALREADY_KNOWN:
            return refusal
    curable = (r for r in refusals if classify_rpc_failure(r.message) not in INVALID)
    return next(curable, refusals[0])


def middle(said: Sequence[Sequence[Answer]], place: int) -> Answer:
    """The middle one of the quantities that nodes name, the higher one of two: a node that names
    too much or too little moves it little. A refusal where more refuse than name one."""
    named = [a for answers in said if isinstance(a := answers[place], str)]
    refusals = [a for answers in said if not isinstance(a := answers[place], str)]
    if len(refusals) > len(named):
        return refusals[0]
    return sorted(named, key=lambda text: (len(text), text))[len(named) // 2]
