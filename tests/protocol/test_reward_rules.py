"""Rules of rewards in the manifest: the same for who proposes a root and who checks it."""

import json

import pytest

from corechain.deployment import REQUIRED, InvalidDeployment, load_deployment
from corechain.protocol.reading import PASS, DeviceId, Reading
from corechain.protocol.rewards import DEFAULT_SCHEDULE, EpochScore, Owner, RewardRules
from corechain_indexer.rewards import add_leaves, cumulative_after

OWN, BRIDGED = DeviceId(b"\x01" * 20), DeviceId(b"\xb5\x1d" + b"\x01" * 18)
FIRST, SECOND = Owner(b"\x0a" * 20), Owner(b"\x0b" * 20)


@pytest.fixture
def manifest(tmp_path):
    """Writes a manifest with these reward rules; None: as scripts of before them wrote it."""
    entry = {"address": "0x" + "07" * 20, "block": 1}

    def write(rewards=None):
        document = {"chain_id": 1, "contracts": dict.fromkeys(REQUIRED, entry)}
        if rewards is not None:
            document["rewards"] = rewards
        path = tmp_path / "1.json"
        path.write_text(json.dumps(document))
        return path

    return write


def step(first, weight):
    return {"from_epoch": first, "bridge_weight_bps": weight}


def test_a_manifest_says_which_rules_hold_from_which_epoch_on(manifest):
    schedule = load_deployment(manifest([step(1, 10_000), step(4, 0)])).rewards
    assert [schedule.of(epoch).bridge_weight_bps for epoch in (3, 4)] == [10_000, 0]


def test_a_manifest_without_rules_has_those_of_the_default(manifest):
    assert load_deployment(manifest()).rewards == DEFAULT_SCHEDULE


@pytest.mark.parametrize(
    "rewards",
    [
        [],
        [step(2, 5_000)],
        [step(1, 10_001)],
        [step(1, -1)],
        [step(1, 0.5)],
        [step(1, True)],
        [step(1, "5000")],
        [step(1, 5_000), step(1, 5_000)],
        [{"from_epoch": 1}],
        5_000,
        [5_000],
    ],
)
def test_rules_that_are_none_are_no_manifest(manifest, rewards):
    with pytest.raises(InvalidDeployment, match="not a manifest"):
        load_deployment(manifest(rewards))


def test_the_auditor_computes_what_the_rules_say():
    """The proposer's side: tests/relayer/test_rewards.py, with the same functions on a chain."""
    leaves = [Reading(1, 7, device, 3_600, 5, PASS).pack() for device in (OWN, BRIDGED)]
    owners = {OWN: FIRST, BRIDGED: SECOND}
    for weight, expected in ((10_000, (1_500, 1_500)), (5_000, (2_000, 1_000)), (0, (3_000, 0))):
        score = EpochScore()
        add_leaves(score, b"".join(leaves))
        found = cumulative_after({}, score, owners, 3_000, RewardRules(weight))
        assert (found[FIRST], found.get(SECOND, 0)) == expected
