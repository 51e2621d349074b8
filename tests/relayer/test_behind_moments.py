"""What ends a loop: no node that is behind for a moment, and no lock that a frozen one keeps."""

from typing import Any

import pytest

from corechain.service.errors import NodeBehind, NodesDisagree, NodeUnavailable
from corechain.service.rpc import Questions
from corechain_relayer.behind import rounds_forever
from corechain_relayer.submitter.views import views_at_head


@pytest.mark.parametrize(
    ("errors", "rounds"),
    [
        ([NodeBehind("a block"), None, NodesDisagree("a block"), None, NodeUnavailable("away")], 5),
        ([None, NodeBehind("a block"), NodeBehind("a block"), NodeBehind("a block")], 4),
    ],
)
async def test_a_loop_outlives_what_the_next_look_may_cure_unless_it_lasts(
    monkeypatch: pytest.MonkeyPatch, errors: list[NodeUnavailable | None], rounds: int
) -> None:
    now, done = [0.0], [0]

    async def one() -> None:
        done[0] += 1
        now[0] += 3.0
        error = errors.pop(0)
        if error is not None:
            raise error

    monkeypatch.setattr("corechain_relayer.behind.time.monotonic", lambda: now[0])
    with pytest.raises(NodeUnavailable):
        await rounds_forever(one, 0.0)
    assert (done[0], errors) == (rounds, [])


async def test_a_node_that_has_a_block_but_not_its_state_yet_is_behind() -> None:
    class Hurried:
        async def call_all(self, calls: list[Any]) -> list[Any]:
            return [{"number": "0x1"}, "0x" + "00" * 32, "0x"]

    node: Questions = Hurried()  # type: ignore[assignment]
    with pytest.raises(NodeBehind, match="the state of 0x0101"):
        await views_at_head(node, b"\1" * 20, [b"a view", b"another"])
