"""Rewards, vouchers and logs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from corechain.deployment import load_abi
from corechain.protocol import errors, events
from corechain.protocol.channel import ChannelConfig, Voucher, check_voucher, payment_domain
from corechain.protocol.errors import (
    InvalidProof,
    InvalidSignature,
    PaymentRequired,
    ValueOutOfRange,
    VoucherRegressed,
)
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.logs import MalformedLog, decode_log, layouts, topic_of
from corechain.protocol.problems import problem_type
from corechain.protocol.reading import DeviceId, Reading
from corechain.protocol.rewards import (
    DEFAULT_RULES,
    EpochScore,
    Owner,
    RewardClaim,
    RewardRules,
    RewardSchedule,
    RewardTree,
    accumulate,
    points_by_owner,
    split_down,
    verify_claim,
)

owners = st.binary(min_size=20, max_size=20).map(Owner)
amounts = st.dictionaries(owners, st.integers(0, 2**128 - 1), min_size=1, max_size=30)
VECTORS = Path(__file__).parent.parent / "vectors"


def leaf(metric, hour, flag=1, device=b"\x01" * 20, second=0):
    return Reading(metric, 7, DeviceId(device), 3600 * hour + second, 0, flag).pack()


def test_a_device_earns_once_per_metric_and_hour():
    score = EpochScore()
    score.add([leaf(1, 5), leaf(1, 5, second=9), leaf(1, 6), leaf(2, 5)])
    score.add([leaf(1, 6, second=1)])
    assert score.points(DEFAULT_RULES) == {b"\x01" * 20: 30_000}


def test_a_suspect_reading_earns_nothing():
    score = EpochScore()
    score.add([leaf(1, 5, flag=3)])
    assert score.points(DEFAULT_RULES) == {}


OWN, BRIDGED = b"\x01" * 20, b"\xb5\x1d" + b"\x01" * 18


def scored(*devices):
    score = EpochScore()
    score.add(leaf(1, hour, device=device) for hour, device in enumerate(devices))
    return score


def test_a_slot_of_a_bridges_device_counts_half_unless_the_rules_say_otherwise():
    score = scored(OWN, BRIDGED, BRIDGED)
    assert score.points(DEFAULT_RULES) == {OWN: 10_000, BRIDGED: 10_000}
    assert score.points(RewardRules(2_500)) == {OWN: 10_000, BRIDGED: 5_000}
    assert score.points(RewardRules(0)) == {OWN: 10_000, BRIDGED: 0}


@given(
    st.integers(0, 10**30),
    st.lists(st.binary(min_size=20, max_size=20).map(lambda d: b"\x01" + d[1:]), min_size=1),
    st.integers(0, 10_000),
)
def test_where_no_bridge_is_the_weight_changes_no_share(pool, devices, weight):
    """So roots of before the weight was there come out."""
    slots = {device: devices.count(device) for device in devices}
    points = scored(*devices).points(RewardRules(weight))
    assert split_down(pool, points) == split_down(pool, slots)


def test_rules_hold_from_their_epoch_on_and_have_a_hash_each():
    early, late = RewardRules(10_000), RewardRules(5_000)
    schedule = RewardSchedule(((1, early), (7, late)))
    assert [schedule.of(epoch) for epoch in (1, 6, 7, 32_767)] == [early, early, late, late]
    assert RewardSchedule().of(1) == DEFAULT_RULES
    assert early.hash != late.hash
    assert DEFAULT_RULES.hash == late.hash


@pytest.mark.parametrize("weight", [-1, 10_001])
def test_a_weight_is_no_more_than_the_whole(weight):
    with pytest.raises(ValueOutOfRange):
        RewardRules(weight)


@pytest.mark.parametrize("firsts", [(), (2,), (1, 1), (1, 5, 3)])
def test_rules_begin_with_the_first_epoch_and_follow_each_other(firsts):
    with pytest.raises(ValueError, match="begin with epoch 1"):
        RewardSchedule(tuple((first, DEFAULT_RULES) for first in firsts))


@given(st.integers(0, 2**120), st.dictionaries(owners, st.integers(0, 1000), min_size=1))
def test_a_split_gives_out_no_more_than_the_pool(pool, points):
    if sum(points.values()):
        shares = split_down(pool, points)
        assert sum(shares.values()) <= pool
        assert pool - sum(shares.values()) < max(1, len(points))


def test_a_device_without_an_owner_earns_for_nobody():
    owner = Owner(b"\x09" * 20)
    points = {DeviceId(b"\x01" * 20): 3, DeviceId(b"\x02" * 20): 4, DeviceId(b"\x03" * 20): 5}
    known = {DeviceId(b"\x01" * 20): owner, DeviceId(b"\x02" * 20): owner}
    assert points_by_owner(points, known) == {owner: 7}


@given(amounts)
def test_every_owner_can_prove_its_claim_and_no_other(table):
    tree = RewardTree(table)
    for owner, amount in table.items():
        claim = tree.claim(owner)
        assert claim.cumulative == amount
        verify_claim(tree.root, claim)
        more = RewardClaim(owner, (amount + 1) % 2**128, claim.position, claim.proof)
        with pytest.raises(InvalidProof):
            verify_claim(tree.root, more)


@given(amounts)
def test_cumulative_amounts_never_fall(table):
    after = accumulate(table, dict.fromkeys(table, 0))
    assert after == table
    with pytest.raises(KeyError):
        RewardTree(table).claim(Owner(b""))


# ------------------------------------------------------------------------ vouchers

PAYER = Secp256k1Key(bytes(31) + b"\x01")
DOMAIN = payment_domain(1, b"\x22" * 20)
CONFIG = ChannelConfig(
    PAYER.identity.device, bytes(20), b"\x33" * 20, b"\x33" * 20, b"\x44" * 20, 900, bytes(32)
)


def check(amount, held=0, due=1, deposit=100, key=PAYER, config=CONFIG):
    voucher = Voucher(CONFIG.channel_id(DOMAIN), amount)
    signature = key.sign(voucher.digest(DOMAIN))
    check_voucher(DOMAIN, config, voucher, signature, deposit=deposit, held=held, due=due)


@given(st.integers(1, 100), st.integers(0, 120), st.integers(0, 120))
def test_a_voucher_pays_when_it_is_newer_enough_and_covered(amount, held, due):
    if amount <= held:
        with pytest.raises(VoucherRegressed):
            check(amount, held, due)
    elif amount < due:
        with pytest.raises(PaymentRequired):
            check(amount, held, due)
    else:
        check(amount, held, due)


def test_a_voucher_over_the_deposit_pays_nothing():
    with pytest.raises(PaymentRequired):
        check(101)


def test_a_voucher_of_another_key_or_channel_pays_nothing():
    with pytest.raises(InvalidSignature):
        check(5, key=Secp256k1Key(bytes(31) + b"\x02"))
    other = ChannelConfig(*[b"\x05" * 20] * 5, 900, bytes(32))
    with pytest.raises(InvalidSignature):
        check(5, config=other)


# -------------------------------------------------------------------------- events


def abi_events():
    for name in ("DeviceRegistry", "DataBatches", "CoreToken", "PaymentChannels", "StateChannels"):
        for entry in load_abi(name):
            if entry["type"] == "event":
                yield entry


def canonical(item):
    if item["type"].startswith("tuple"):
        inner = ",".join(canonical(part) for part in item["components"])
        return f"({inner}){item['type'].removeprefix('tuple')}"
    return item["type"]


def test_the_events_of_the_contracts_are_the_ones_we_decode():
    topics = {
        keccak(f"{e['name']}({','.join(canonical(i) for i in e['inputs'])})".encode()): e
        for e in abi_events()
    }
    for topic, layout in layouts().items():
        entry = topics[topic]
        assert [i["indexed"] for i in entry["inputs"]] == list(layout.indexed)


def test_a_log_is_decoded_by_its_words():
    device, owner = b"\x01" * 20, b"\x02" * 20
    topics = [topic_of(events.DeviceRegistered), bytes(12) + device, bytes(12) + owner]
    data = encode(["uint8", "bytes32", "bytes32"], [2, b"\x05" * 32, b"\x06" * 32])
    assert decode_log(topics, data) == events.DeviceRegistered(
        device, owner, 2, b"\x05" * 32, b"\x06" * 32
    )


def test_an_answer_to_a_demand_says_which_and_by_whom():
    """The evidence stays as it is: nobody who follows demands reads it."""
    topics = [topic_of(events.Answered), b"\x07" * 32, bytes(12) + b"\x08" * 20]
    evidence = ([(3, b"leaf", [b"\x01" * 26])], [], b"\x02\x03")
    data = encode([events.EVIDENCE], [evidence])
    found = decode_log(topics, data)
    assert found == events.Answered(b"\x07" * 32, b"\x08" * 20, data)


@given(st.binary(max_size=200), st.integers(1, 2))
def test_a_list_in_a_log_is_decoded_whatever_its_length(ids, key_type):
    topics = [
        topic_of(events.FleetEnrolled),
        b"\x03" * 26 + bytes(6),
        bytes(12) + b"\x04" * 20,
    ]
    data = encode(["uint8", "bytes"], [key_type, ids])
    found = decode_log(topics, data)
    assert found == events.FleetEnrolled(b"\x03" * 26, b"\x04" * 20, key_type, ids)
    assert decode_log([topic_of(events.KeysPublished)], encode(["bytes"], [ids])).keys == ids


@given(st.binary(min_size=1, max_size=70), st.data())
def test_a_list_in_a_strange_shape_is_malformed(ids, data):
    topics = [topic_of(events.KeysPublished)]
    encoded = encode(["bytes"], [ids])
    shorter = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    dirty = encoded[:-1] + b"\x01" if len(ids) % 32 else encoded + b"\x01"
    moved = (64).to_bytes(32, "big") + encoded[32:]
    huge = encoded[:32] + b"\xff" * 32 + encoded[64:]
    for strange in (shorter, dirty, encoded + bytes(32), moved, huge):
        with pytest.raises(MalformedLog):
            decode_log(topics, strange)


def test_the_terms_of_a_channel_are_decoded_from_seven_words():
    topics = [topic_of(events.PaymentChannelCreated), b"\x07" * 32]
    kinds = ["address"] * 5 + ["uint40", "bytes32"]
    parties = ["0x" + f"{n:040x}" for n in range(1, 6)]
    found = decode_log(topics, encode(kinds, [*parties, 900, b"\x08" * 32]))
    assert found.config.receiver == (3).to_bytes(20, "big")
    assert found.config.withdraw_delay_s == 900


def test_a_log_in_a_wrong_shape_is_malformed_and_a_strange_one_is_nobodys():
    topic = topic_of(events.BatchCommitted)
    with pytest.raises(MalformedLog):
        decode_log([topic, bytes(32)], bytes(31))
    with pytest.raises(MalformedLog):
        decode_log([topic], bytes(32))
    assert decode_log([b"\x01" * 32], b"") is None
    assert decode_log([], b"") is None


# -------------------------------------------------------------------------- errors


def test_every_error_has_one_name_and_a_status():
    for kind in (errors.InvalidSignature, errors.UnknownMetric, errors.Overloaded):
        assert errors.by_name(kind.__name__) is kind
        assert 400 <= kind.status < 600
    assert errors.by_name("NoSuchError") is None
    assert problem_type(HIGH) == "urn:corechain:error:HighS"


HIGH = errors.HighS("s")


def test_solidity_errors_of_the_same_name_exist_in_python():
    shared = {"InvalidSignature", "HighS", "InvalidProof", "RangeIncomplete", "UnknownBatch",
              "UnknownDevice", "RevokedDevice", "VoucherRegressed"}  # fmt: skip
    solidity = {
        entry["name"]
        for name in ("DeviceRegistry", "DataBatches", "PaymentChannels")
        for entry in load_abi(name)
        if entry["type"] == "error"
    }
    assert shared <= solidity
    assert all(errors.by_name(name) for name in shared)


def test_errors_of_contracts_that_use_answers_have_their_names_in_python():
    sources = Path(__file__).resolve().parents[2].glob("contracts/consumer/*.sol")
    declared = re.compile(r"^ *error (\w+)\(", re.M)
    names = {name for source in sources for name in declared.findall(source.read_text())}
    assert {"NoBond", "RangeIncomplete"} <= names, "the sources were read"
    names |= {"EmptyBatch", "ReceiptExpired", "MalformedRows", "MalformedLog"}
    # In a process that has loaded nothing else: this one has what other tests have imported.
    asked = "import sys; from corechain.protocol.errors import by_name; "
    asked += "print(*(name for name in sys.argv[1:] if by_name(name) is None))"
    unknown = subprocess.run(
        [sys.executable, "-c", asked, *names], capture_output=True, text=True, check=True
    )
    assert unknown.stdout.split() == []


@pytest.mark.parametrize("name", ["reports", "batch", "rewards", "channels", "fleets"])
def test_the_golden_vectors_are_what_the_code_makes(name):
    from vectors.make import CHAIN_ID, PAYMENTS, REGISTRY, STATES, hexed, vectors

    domain = {
        "chainId": CHAIN_ID,
        "registry": hexed(REGISTRY),
        "paymentChannels": hexed(PAYMENTS),
        "stateChannels": hexed(STATES),
    }
    stored = json.loads((VECTORS / f"{name}.json").read_text())
    assert stored == json.loads(json.dumps({"domain": domain, **vectors()[name]}))
