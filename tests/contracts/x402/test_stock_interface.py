"""What the x402 package believes about the contract, word by word, and what ours is.

Its ABI lists functions and one event; its constants hold the EIP-712 types. Errors are not among
them: those are compared by name with the canonical contract's.
"""

from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stock import CHAIN_ID, Stock
from web3 import Web3
from x402.mechanisms.evm.batch_settlement.abi import BATCH_SETTLEMENT_ABI
from x402.mechanisms.evm.batch_settlement.constants import (
    BATCH_SETTLEMENT_DOMAIN_NAME,
    BATCH_SETTLEMENT_DOMAIN_VERSION,
    CHANNEL_CONFIG_TYPE_STRING,
    CLAIM_BATCH_TYPES,
    MAX_WITHDRAW_DELAY,
    MIN_WITHDRAW_DELAY,
    REFUND_TYPES,
    VOUCHER_TYPES,
)
from x402.mechanisms.evm.batch_settlement.facilitator.claim import build_voucher_claim_args
from x402.mechanisms.evm.batch_settlement.facilitator.utils import to_contract_channel_config
from x402.mechanisms.evm.batch_settlement.types import ChannelConfig, VoucherClaim
from x402.mechanisms.evm.batch_settlement.utils import (
    compute_channel_id,
    get_batch_settlement_eip712_domain,
)

from corechain.deployment import load_abi
from corechain.protocol import channel as protocol

OURS = load_abi("PaymentChannels")
THEIRS = [entry for entry in BATCH_SETTLEMENT_ABI if entry["type"] == "function"]
# The canonical contract's errors (x402-foundation/x402, contracts/evm/src/x402BatchSettlement.sol):
# the package's ABI has none, but other clients of that contract tell them apart by selector.
CANONICAL_ERRORS = frozenset({
    "InvalidChannel", "ZeroDeposit", "DepositOverflow", "InvalidSignature", "NotReceiverAuthorizer",
    "NotAuthorizedToClaim", "NotAuthorizedToRefund", "ClaimExceedsCeiling", "ClaimExceedsBalance",
    "WithdrawalAlreadyPending", "WithdrawalNotPending", "NotAuthorizedToFinalizeWithdraw",
    "WithdrawDelayNotElapsed", "NothingToWithdraw", "WithdrawAmountExceedsAvailable",
    "WithdrawDelayOutOfRange", "EmptyBatch", "DepositCollectionFailed", "InvalidCollector",
    "InvalidRefundNonce", "ZeroRefund",
})  # fmt: skip
CANONICAL_EVENTS = frozenset({
    "ChannelCreated(bytes32,(address,address,address,address,address,uint40,bytes32))",
    "ChannelClosed(bytes32,(address,address,address,address,address,uint40,bytes32))",
    "Deposited(bytes32,address,uint128,uint128)",
    "Claimed(bytes32,address,uint128,uint128)",
    "Settled(address,address,address,uint128)",
    "Refunded(bytes32,address,uint128)",
    "WithdrawInitiated(bytes32,uint128,uint40)",
    "WithdrawFinalized(bytes32,address,uint128)",
})  # fmt: skip

addresses = st.binary(min_size=20, max_size=20).map(Web3.to_checksum_address)
words = st.binary(min_size=32, max_size=32)
amounts = st.integers(0, 2**128 - 1)
configs = st.builds(
    ChannelConfig,
    payer=addresses,
    payer_authorizer=addresses,
    receiver=addresses,
    receiver_authorizer=addresses,
    token=addresses,
    withdraw_delay=st.integers(0, 2**40 - 1),
    salt=words.map(lambda salt: "0x" + salt.hex()),
)
claims = st.lists(
    st.builds(
        VoucherClaim,
        channel=configs,
        max_claimable_amount=amounts.map(str),
        signature=st.binary(max_size=80).map(lambda signature: "0x" + signature.hex()),
        total_claimed=amounts.map(str),
    ),
    max_size=3,
)


def types_of(parameters: list[dict[str, Any]]) -> list[str]:
    return [
        parameter["type"].replace("tuple", "(" + ",".join(types_of(parameter["components"])) + ")")
        if parameter["type"].startswith("tuple")
        else parameter["type"]
        for parameter in parameters
    ]


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in OURS if entry["type"] == kind}


def names_of(parameters: list[dict[str, Any]]) -> list[Any]:
    return [(one["name"], names_of(one.get("components", []))) for one in parameters]


@pytest.mark.parametrize("theirs", THEIRS, ids=lambda entry: entry["name"])
def test_every_function_of_the_package_is_ours(theirs: dict[str, Any]) -> None:
    ours = named("function")[theirs["name"]]
    assert function_abi_to_4byte_selector(ours) == function_abi_to_4byte_selector(theirs)
    assert types_of(ours["outputs"]) == types_of(theirs["outputs"])
    assert ours["stateMutability"] == theirs["stateMutability"]
    assert names_of(ours["inputs"]) == names_of(theirs["inputs"])


def test_every_event_of_the_package_is_ours() -> None:
    (theirs,) = [entry for entry in BATCH_SETTLEMENT_ABI if entry["type"] == "event"]
    ours = named("event")[theirs["name"]]
    assert event_abi_to_log_topic(ours) == event_abi_to_log_topic(theirs)
    fields = [(field["name"], field["type"], field["indexed"]) for field in theirs["inputs"]]
    assert [(field["name"], field["type"], field["indexed"]) for field in ours["inputs"]] == fields


def test_events_and_errors_of_the_canonical_contract_are_ours() -> None:
    topics = {event_abi_to_log_topic(event) for event in named("event").values()}
    assert {Web3.keccak(text=event) for event in CANONICAL_EVENTS} <= topics
    errors = named("error")
    assert errors.keys() >= CANONICAL_ERRORS
    assert all(errors[name]["inputs"] == [] for name in CANONICAL_ERRORS)


def test_the_words_of_the_protocol_core_are_those_of_the_package() -> None:
    (fields,) = VOUCHER_TYPES.values()
    voucher = "Voucher(" + ",".join(f"{one['type']} {one['name']}" for one in fields) + ")"
    assert voucher.encode() == protocol.VOUCHER_TYPE
    assert CHANNEL_CONFIG_TYPE_STRING.encode() == protocol.CHANNEL_CONFIG_TYPE
    domain = protocol.payment_domain(CHAIN_ID, bytes(20))
    theirs = (BATCH_SETTLEMENT_DOMAIN_NAME, BATCH_SETTLEMENT_DOMAIN_VERSION)
    assert (domain.name, domain.version) == theirs
    bounds = (MIN_WITHDRAW_DELAY, MAX_WITHDRAW_DELAY)
    assert bounds == (protocol.MIN_WITHDRAW_DELAY_S, protocol.MAX_WITHDRAW_DELAY_S)


def digest(types: dict[str, Any], message: dict[str, Any]) -> bytes:
    """What the package would have signed."""
    text = encode_typed_data(get_batch_settlement_eip712_domain(CHAIN_ID), types, message)
    return bytes(Web3.keccak(b"\x19" + text.version + text.header + text.body))


on_chain = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_the_bounds_of_the_delay_are_the_same(installed: Stock) -> None:
    functions = installed.ours.functions
    assert functions.MIN_WITHDRAW_DELAY().call() == MIN_WITHDRAW_DELAY
    assert functions.MAX_WITHDRAW_DELAY().call() == MAX_WITHDRAW_DELAY


@on_chain
@given(configs)
def test_a_channel_id_is_the_one_of_the_package(installed: Stock, config: ChannelConfig) -> None:
    found = installed.channels.functions.getChannelId(to_contract_channel_config(config)).call()
    assert "0x" + found.hex() == compute_channel_id(config, CHAIN_ID)


@on_chain
@given(words, amounts)
def test_a_voucher_digest_is_the_one_of_the_package(
    installed: Stock, channel_id: bytes, amount: int
) -> None:
    found = installed.channels.functions.getVoucherDigest(channel_id, amount).call()
    message = {"channelId": channel_id, "maxClaimableAmount": amount}
    assert found == digest(VOUCHER_TYPES, message)


@on_chain
@given(words, st.integers(0, 2**256 - 1), amounts)
def test_a_refund_digest_is_the_one_of_the_package(
    installed: Stock, channel_id: bytes, nonce: int, amount: int
) -> None:
    found = installed.channels.functions.getRefundDigest(channel_id, nonce, amount).call()
    message = {"channelId": channel_id, "nonce": nonce, "amount": amount}
    assert found == digest(REFUND_TYPES, message)


@on_chain
@given(claims)
def test_a_claim_digest_is_the_one_of_the_package(
    installed: Stock, rows: list[VoucherClaim]
) -> None:
    arguments = build_voucher_claim_args(rows)
    found = installed.channels.functions.getClaimBatchDigest(arguments).call()
    entries = [
        {
            "channelId": bytes.fromhex(compute_channel_id(row.channel, CHAIN_ID)[2:]),
            "maxClaimableAmount": int(row.max_claimable_amount),
            "totalClaimed": int(row.total_claimed),
        }
        for row in rows
    ]
    assert found == digest(CLAIM_BATCH_TYPES, {"claims": entries})
