"""The whole network on `geth --dev`. `make test-geth` builds the node and runs this; pytest does
not collect it by itself, for Go is not on every machine.

given geth, with a block a second and `finalized` standing still at block 0
└── deployed, registered, replayed, mirrored, proven, paid, redeemed, rewarded: as on anvil
"""

from pathlib import Path

from support.nodes import on_geth, show


def test_the_network_works_on_geth(tmp_path: Path) -> None:
    with on_geth(tmp_path) as network:
        show(network)
