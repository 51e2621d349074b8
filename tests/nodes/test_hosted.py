"""The whole network behind a hosted provider: other blocks than anvil's, limits, refusals.

What each refusal looks like, one by one: tests/sdk/test_hosted_nodes.py, tests/service/.

given a node with the habits of several providers at once
└── deployed, registered, replayed, mirrored, proven, paid, redeemed, rewarded: as on anvil
"""

from pathlib import Path

from support.nodes import on_provider, show
from support.provider import Habits

WORST = Habits(
    extra_data_bytes=97,
    max_range_blocks=10,
    max_logs=20,
    refusal=(400, {"code": -32600, "message": "up to a 10 block range should work"}),
    max_batch=0,
    null_receipts=2,
    busy=3,
)


def test_the_network_works_behind_a_hosted_provider(tmp_path: Path) -> None:
    with on_provider(tmp_path, WORST) as network:
        show(network)
