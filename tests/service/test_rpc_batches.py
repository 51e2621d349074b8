"""Questions in batches, to providers that limit or refuse batches."""

import pytest
from support.provider import Habits, provider

from corechain.service.errors import NodeBehind, NodeRefused
from corechain.service.progress import HEARD_BY
from corechain.service.rpc import Call, Rpc


@pytest.mark.parametrize("limit", [None, 7, 3, 1, 0])
async def test_many_questions_are_answered_however_small_the_batches(
    anvil: str, limit: int | None
) -> None:
    calls = [Call("eth_chainId") if n % 3 else Call("no_such_method") for n in range(20)]
    with provider(anvil, Habits(max_batch=limit)) as hosted:
        rpc = Rpc(hosted.url)
        try:
            for _ in range(2):
                found = await rpc.call_all(calls)
                assert [isinstance(result, NodeRefused) for result in found] == [
                    call.method == "no_such_method" for call in calls
                ]
            assert [block.number for block in await rpc.blocks([0, 0, 0])] == [0, 0, 0]
            with pytest.raises(NodeBehind):
                await rpc.blocks([0, 10**9])
        finally:
            await rpc.close()


async def test_what_a_provider_refused_once_is_not_tried_again(anvil: str) -> None:
    calls, heard = [Call("eth_chainId")] * 4, list[int]()
    HEARD_BY.set((lambda: heard.append(1),))  # a round of many slow answers stands not still
    with provider(anvil, Habits(max_batch=0)) as hosted:
        rpc = Rpc(hosted.url)
        try:
            await rpc.call_all(calls)
            before = len(hosted.calls)
            assert await rpc.call_all(calls) == ["0x7a69"] * 4
            assert len(hosted.calls) == before + len(calls)
            assert len(heard) >= len(calls) + 1
        finally:
            await rpc.close()
