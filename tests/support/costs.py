"""Which files of tests take longest, so that none of them begins last and leaves a core idle.

xdist's own order is by the number of tests: two tests that kill relayers for a minute come last.
Which file is not here counts by its tests. `make test-costs` measures anew.
"""

from collections import Counter
from collections.abc import Iterable

COSTS_S = {
    "tests/nodes/test_hosted.py": 120,
    "tests/indexer/explorer_in_chromium.py": 30,
    "tests/sdk/test_history_network.py": 20,
    "tests/indexer/test_browser_package.py": 50,
    "tests/indexer/test_payment_property.py": 15,
    "tests/indexer/test_index_audit.py": 10,
    "tests/indexer/test_any_order.py": 10,
    "tests/indexer/test_queries_fuzz.py": 10,
    "tests/indexer/test_segments.py": 10,
    "tests/web/test_browser_verdicts.py": 10,
    "tests/relayer/test_bus_kafka_crash.py": 60,
    "tests/relayer/test_bus_kafka.py": 35,
    "tests/relayer/test_bus_kafka_access.py": 20,
    "tests/relayer/mqtt/test_mqtt_kills.py": 15,
    "tests/indexer/test_api_workers.py": 12,
    "tests/indexer/test_shards_added.py": 10,
    "tests/indexer/test_joining.py": 9,
    "tests/service/test_quorum.py": 7,
    "tests/service/test_rpc_batches.py": 7,
    "tests/service/test_rpc_border.py": 7,
    "tests/relayer/test_start.py": 6,
    "tests/e2e/test_outages.py": 90,
    "tests/scripts/test_deploy_refusals.py": 30,
    "tests/sdk/test_devnet_network.py": 50,
    "tests/sdk/test_cli_network.py": 40,
    "tests/relayer/test_path.py": 14,
    "tests/scripts/test_deploy_command.py": 40,
    "tests/relayer/test_guard.py": 17,
    "tests/e2e/test_whole_network.py": 70,
    "tests/e2e/test_bridge_path.py": 40,
    "tests/relayer/test_resume.py": 20,
    "tests/relayer/test_crash.py": 33,
    "tests/relayer/test_guard_outages.py": 31,
    "tests/e2e/test_network_on_kafka.py": 55,
    "tests/relayer/test_lanes.py": 7,
    "tests/relayer/test_watchtower.py": 25,
    "tests/indexer/test_reorgs.py": 14,
    "tests/relayer/test_bad_input.py": 22,
    "tests/relayer/test_halted_lane.py": 6,
    "tests/indexer/test_outbox.py": 35,
    "tests/indexer/test_paid_clients.py": 16,
    "tests/relayer/test_bridge_devnet.py": 35,
    "tests/relayer/test_nginx.py": 13,
    "tests/indexer/test_mirror.py": 12,
    "tests/sdk/test_cli.py": 7,
    "tests/indexer/test_several_chains.py": 11,
    "tests/relayer/test_bus_contract.py": 10,
    "tests/sdk/test_odd_answers.py": 12,
    "tests/indexer/test_api.py": 10,
    "tests/sdk/test_client.py": 10,
    "tests/sdk/test_any_value.py": 10,
    "tests/indexer/test_outbox_series.py": 9,
    "tests/sdk/test_odd_nodes.py": 4,
    "tests/relayer/test_rewards.py": 9,
}
"""CPU seconds of a file with all that it starts, on a busy machine; of those that wait for most of
their time, how long they took in CI."""
TEST_S = 0.1
FIRST = ("tests/protocol/", "tests/native/")
"""Neither servers nor contracts: they run while the contracts are compiled."""


def longest_first(files: Iterable[str]) -> dict[str, float]:
    """Where each file stands, given the file of each test: small numbers come first."""
    tests = Counter(files)
    costs = {file: COSTS_S.get(file, TEST_S * count) for file, count in tests.items()}
    return {file: -cost - 1e6 * file.startswith(FIRST) for file, cost in costs.items()}
