"""Hand-packed digests are those of a generic encoder, and of the stock x402 client."""

from dataclasses import fields

from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st
from x402.mechanisms.evm.batch_settlement.constants import (
    BATCH_SETTLEMENT_ADDRESS,
    CHANNEL_CONFIG_TYPES,
    VOUCHER_TYPES,
)
from x402.mechanisms.evm.batch_settlement.utils import compute_channel_id

from corechain.protocol.channel import (
    ChannelConfig,
    ChannelState,
    Voucher,
    close_digest,
    payment_domain,
    state_domain,
)
from corechain.protocol.eip712 import activation_digest, registry_domain, report_digest
from corechain.protocol.hashing import keccak
from corechain.protocol.reading import DeviceId, Observation, Report

addresses = st.binary(min_size=20, max_size=20)
words = st.binary(min_size=32, max_size=32)
chain_ids = st.integers(1, 2**64)


def generic(domain, types, name, message):
    where = {
        "name": domain.name,
        "version": domain.version,
        "chainId": domain.chain_id,
        "verifyingContract": domain.contract,
    }
    return _hash_eip191_message(
        encode_typed_data(where, {name: [{"type": t, "name": n} for t, n in types]}, message)
    )


@given(chain_ids, addresses, addresses, st.integers(0, 2**64 - 1), st.integers(-(2**31), 2**31 - 1))
def test_a_report_digest_is_the_generic_one(chain_id, registry, device, sequence, value):
    report = Report.of(DeviceId(device), sequence, [Observation(1, 2, 3, value)])
    types = [("address", "device"), ("uint64", "sequence"), ("bytes32", "observationsHash")]
    message = {
        "device": device,
        "sequence": sequence,
        "observationsHash": keccak(report.packed),
    }
    domain = registry_domain(chain_id, registry)
    assert report_digest(domain, report) == generic(domain, types, "Report", message)


@given(chain_ids, addresses, addresses, addresses)
def test_an_activation_digest_is_the_generic_one(chain_id, registry, device, owner):
    domain = registry_domain(chain_id, registry)
    types = [("address", "device"), ("address", "owner")]
    message = {"device": device, "owner": owner}
    assert activation_digest(domain, device, owner) == generic(domain, types, "Activation", message)


@given(chain_ids, addresses, words, st.integers(0, 2**128 - 1))
def test_a_voucher_digest_is_the_one_of_x402(chain_id, contract, channel_id, amount):
    domain = payment_domain(chain_id, contract)
    types = [(field["type"], field["name"]) for field in VOUCHER_TYPES["Voucher"]]
    message = {"channelId": channel_id, "maxClaimableAmount": amount}
    assert Voucher(channel_id, amount).digest(domain) == generic(domain, types, "Voucher", message)


@given(st.lists(addresses, min_size=5, max_size=5), st.integers(0, 2**40 - 1), words)
def test_a_channel_id_is_the_one_the_stock_client_computes(parties, delay, salt):
    from x402.mechanisms.evm.batch_settlement.types import ChannelConfig as Theirs

    ours = ChannelConfig(*parties, delay, salt)
    theirs = Theirs(*("0x" + party.hex() for party in parties), delay, "0x" + salt.hex())
    domain = payment_domain(8453, bytes.fromhex(BATCH_SETTLEMENT_ADDRESS[2:]))
    assert "0x" + ours.channel_id(domain).hex() == compute_channel_id(theirs, "eip155:8453")
    assert len(CHANNEL_CONFIG_TYPES["ChannelConfig"]) == len(fields(ChannelConfig))


@given(words, st.integers(0, 2**40 - 1), st.integers(0, 2**88 - 1))
def test_a_state_is_never_a_close(channel_id, version, balance):
    domain = state_domain(1, bytes(20))
    types = [("bytes32", "channelId"), ("uint40", "version"), ("uint88", "balanceA")]
    message = {"channelId": channel_id, "version": version, "balanceA": balance}
    state = ChannelState(channel_id, version, balance)
    assert state.digest(domain) == generic(domain, types, "ChannelState", message)
    assert state.digest(domain) != close_digest(domain, channel_id, balance)


@given(st.tuples(chain_ids, addresses), st.tuples(chain_ids, addresses))
def test_a_signature_is_bound_to_chain_and_contract(one, two):
    report = Report.of(DeviceId(bytes(20)), 1, [Observation(1, 2, 3, 4)])
    same = report_digest(registry_domain(*one), report) == report_digest(
        registry_domain(*two), report
    )
    assert same == (one == two)
