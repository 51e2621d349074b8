"""A submitter whose fees follow a deadline."""

import asyncio
from collections.abc import Callable

from corechain_relayer.submitter.plan import Policy
from corechain_relayer.submitter.service import Submitter

STILL_S = 180.0
"""A round asks the journal first, and then a node: of that each part of an answer is progress
(`Poster`), as a round has as many questions as there are intents. Nothing comes for two minutes at
most (RELAYER_RPC_TIMEOUT_S); between two rounds is a minute at most."""


async def run_in_time(
    submitter: Submitter, policy: Callable[[], Policy], poll_s: float, wake: asyncio.Event
) -> None:
    """Rounds for ever, each under the policy of its moment. Raises the outage that ends them."""
    while True:
        submitter.policy = policy()
        # What the node's fees are cut to before anything is signed for the first time.
        submitter.node.max_fee = submitter.policy.max_fee
        if not await submitter.step():
            await _sleep(poll_s, wake)


async def _sleep(seconds: float, wake: asyncio.Event) -> None:
    """Until woken, at most `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return
    wake.clear()
