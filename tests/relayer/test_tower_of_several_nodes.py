"""A real tower with three nodes: the chain's, the same behind a network that fails, and one that
was forked away from it.

given three nodes of which two must agree
  a stale close on the forked one alone is nobody's business
  one on the chain is answered, whether the third lags or has left
given that only one is left
  after a time the tower goes by it alone, and says so
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.asking import HTTP
from support.faults import REFUSE, FaultProxy

from corechain.devnet.process import Command
from corechain.devnet.servers import AnvilServer
from relayer.channels import OpenChannel
from relayer.conftest import Start
from relayer.support import WATCHTOWER_KEY, Chain, RelayerProcess, eventually, secp
from relayer.test_watchtower import answered, deposit

FEW_AFTER_S = 1.0


class ForkedAnvil(AnvilServer):
    """Has the blocks of another one up to its own start, and learns of no later ones."""

    origin = ""

    def _command(self) -> Command:
        known = super()._command()
        return Command([*known.arguments, "--fork-url", self.origin])


def channel(chain: Chain, number: int) -> OpenChannel:
    return OpenChannel(chain, secp(11), secp(12), salt=bytes([number]) * 5)


@pytest.fixture
def nodes(chain: Chain, tmp_path: Path) -> Iterator[tuple[FaultProxy, ForkedAnvil]]:
    for number in (1, 2, 3):
        channel(chain, number).open()
    forked = ForkedAnvil(tmp_path / "forked")
    forked.origin = chain.url
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(int(chain.url.rpartition(":")[2])))
        yield proxy, stack.enter_context(forked)


@pytest.fixture
def tower(start: Start, chain: Chain, nodes: tuple[FaultProxy, ForkedAnvil]) -> RelayerProcess:
    proxy, forked = nodes
    urls = chain.url, f"http://127.0.0.1:{proxy.port}", forked.url
    return start(
        "watchtower",
        RELAYER_WATCHTOWER_KEY=WATCHTOWER_KEY,
        RELAYER_RPC_URL=",".join(urls),
        RELAYER_RPC_FEW_AFTER_S=str(FEW_AFTER_S),
        RELAYER_RPC_TIMEOUT_S="5",
    )


def warnings(tower: RelayerProcess) -> str:
    return " ".join(HTTP.get(f"{tower.url}/ready").json()["warnings"])


def closes(tower: RelayerProcess) -> float:
    lines = HTTP.get(f"{tower.url}/metrics").text.splitlines()
    found = (line for line in lines if line.startswith("corechain_disputes_answered_total "))
    return float(next(found).split()[1])


def test_a_tower_believes_enough_nodes_and_the_last_one_that_is_left(
    chain: Chain, nodes: tuple[FaultProxy, ForkedAnvil], tower: RelayerProcess
) -> None:
    proxy, forked = nodes
    first, second, third = (channel(chain, number) for number in (1, 2, 3))
    for one in (first, second, third):
        assert deposit(tower, one.signed(7, 100)).status_code == 201
    elsewhere = Chain(forked.url, chain.deployment)
    channel(elsewhere, 1).challenge(first.signed(2, 1000))

    second.challenge(second.signed(2, 1000))
    answered(second, 7)
    assert eventually(lambda: "node 3 of 3 is left out: block" in warnings(tower))
    assert (first.version(), closes(tower)) == (0, 1)

    forked.kill()
    proxy.become(REFUSE)
    third.challenge(third.signed(2, 1000))
    answered(third, 7)
    assert "fewer than 2 nodes have answered" in warnings(tower)
    assert closes(tower) == 2
