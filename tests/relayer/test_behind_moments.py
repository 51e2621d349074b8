"""A node that is behind for a moment ends no loop, which would lose what it has found out."""

import pytest

from corechain.service.errors import NodeBehind, NodesDisagree, NodeUnavailable
from corechain_relayer.behind import rounds_forever


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
