"""The whole network behind a hosted provider: other blocks than anvil's, limits, refusals.

given a node with the habits of a provider
└── deployed, registered, replayed, mirrored, proven, paid, redeemed, rewarded: as on anvil
"""

from pathlib import Path

import pytest
from support.nodes import on_provider, show
from support.provider import Habits

HOSTED = {
    "polygon": Habits(extra_data_bytes=97, max_range_blocks=64, max_logs=20, busy=3),
    "free plan": Habits(
        max_range_blocks=10,
        refusal=(400, {"code": -32600, "message": "up to a 10 block range should work"}),
        max_batch=0,
        null_receipts=2,
    ),
}


@pytest.mark.parametrize("habits", HOSTED.values(), ids=HOSTED)
def test_the_network_works_behind_a_hosted_provider(tmp_path: Path, habits: Habits) -> None:
    with on_provider(tmp_path, habits) as network:
        show(network)
