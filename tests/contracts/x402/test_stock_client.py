"""The stock x402 client pays, and the stock server and facilitator get the money, on our contract.

Given a payer with tokens and no ether
  when it asks for a paid page
    it deposits by signatures alone, and gets the page
    every further page costs a voucher and no transaction
    it deposits again when the channel is used up
    with another key for vouchers, or with none but its own, it can do the same
    with its memory lost, it goes on where it was
  when the same deposit comes a second time
    nothing is taken
  when the server claims and settles
    the receiver holds what was charged, to the last unit, and no more the second time
  when the payer or the server ends the channel
    what was not charged goes back to the payer, and only that
  when the server does not answer any more
    the payer gets out alone, after the delay
"""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from stock import DEPOSIT, PRICE, Stock, buy, held, key_of, only_channel, send, state
from support.processes import PATIENCE_S
from web3 import Web3
from web3.exceptions import ContractCustomError
from x402.http.utils import decode_payment_required_header
from x402.mechanisms.evm.batch_settlement import (
    ERC3009_DEPOSIT_COLLECTOR_ADDRESS,
    MAX_WITHDRAW_DELAY,
    MIN_WITHDRAW_DELAY,
    DepositPayload,
)
from x402.mechanisms.evm.batch_settlement.client.refund import RefundOptions
from x402.mechanisms.evm.batch_settlement.errors import ERR_DEPOSIT_SIMULATION_FAILED
from x402.mechanisms.evm.batch_settlement.facilitator.claim import build_voucher_claim_args
from x402.mechanisms.evm.batch_settlement.facilitator.deposit_eip3009 import (
    build_eip3009_deposit_collector_data,
)
from x402.mechanisms.evm.batch_settlement.facilitator.utils import to_contract_channel_config
from x402.mechanisms.evm.signers import EthAccountSigner
from x402.schemas import PaymentPayload, PaymentRequirements

from corechain.devnet.servers import rpc

NOBODY = "0x" + "00" * 20


def selector(error: str) -> str:
    return str(Web3.keccak(text=error)[:4].to_0x_hex())


async def test_the_first_page_opens_a_channel_by_signatures_alone(stock: Stock) -> None:
    before, _, _ = held(stock)
    (receipt,) = await buy(stock, stock.client_scheme())
    assert stock.web3.eth.get_transaction_count(stock.payer.address) == 0
    assert held(stock) == (before - DEPOSIT, DEPOSIT, 0)
    created, deposited = stock.events(receipt.transaction, "ChannelCreated", "Deposited")
    assert created["config"]["payer"] == stock.payer.address
    assert created["config"]["receiverAuthorizer"] == stock.authorizer.address
    assert deposited["sender"] == key_of("facilitator").address
    assert (deposited["amount"], deposited["newBalance"]) == (DEPOSIT, DEPOSIT)
    assert state(stock) == (DEPOSIT, 0)


async def test_further_pages_cost_no_transaction(stock: Stock) -> None:
    scheme = stock.client_scheme()
    await buy(stock, scheme)
    block = stock.web3.eth.block_number
    receipts = await buy(stock, scheme, times=9)
    assert stock.web3.eth.block_number == block
    assert [receipt.transaction for receipt in receipts] == [""] * 9
    assert receipts[-1].extra["channelState"]["chargedCumulativeAmount"] == str(DEPOSIT)


async def test_a_used_up_channel_is_topped_up(stock: Stock) -> None:
    receipts = await buy(stock, stock.client_scheme(), times=11)
    (only,) = stock.events(receipts[-1].transaction, "ChannelCreated", "Deposited")
    assert (only["event"], only["newBalance"]) == ("Deposited", 2 * DEPOSIT)


async def test_the_receiver_gets_what_was_charged_and_gets_it_once(stock: Stock) -> None:
    before, _, _ = held(stock)
    await buy(stock, stock.client_scheme(), times=3)
    (claim,) = stock.manager.claim()
    (claimed,) = stock.events(claim.transaction, "Claimed")
    assert (claimed["claimAmount"], claimed["newTotalClaimed"]) == (3 * PRICE, 3 * PRICE)
    assert held(stock) == (before - DEPOSIT, DEPOSIT, 0)
    done = stock.manager.settle()
    (settled,) = stock.events(done.transaction, "Settled")
    assert (settled["receiver"], settled["amount"]) == (stock.receiver.address, 3 * PRICE)
    assert held(stock) == (before - DEPOSIT, DEPOSIT - 3 * PRICE, 3 * PRICE)
    assert stock.manager.claim() == []
    with pytest.raises(RuntimeError, match="nothing_to_settle"):
        stock.manager.settle()


async def test_paying_goes_on_after_a_claim(stock: Stock) -> None:
    scheme = stock.client_scheme()
    for times, total in ((2, 2), (3, 5)):
        await buy(stock, scheme, times)
        stock.manager.claim_and_settle()
        assert state(stock) == (DEPOSIT, total * PRICE)
    assert held(stock)[2] == 5 * PRICE


async def test_the_payer_is_refunded_what_was_not_charged(stock: Stock) -> None:
    before, _, _ = held(stock)
    scheme = stock.client_scheme()
    await buy(stock, scheme, times=3)
    answer = scheme.refund(stock.weather)
    claimed, refunded = stock.events(answer.transaction, "Claimed", "Refunded")
    assert (claimed["claimAmount"], refunded["amount"]) == (3 * PRICE, DEPOSIT - 3 * PRICE)
    assert held(stock) == (before - 3 * PRICE, 3 * PRICE, 0)
    stock.manager.settle()
    assert held(stock) == (before - 3 * PRICE, 0, 3 * PRICE)


async def test_a_part_is_refunded_and_the_rest_pays_on(stock: Stock) -> None:
    before, _, _ = held(stock)
    scheme = stock.client_scheme()
    await buy(stock, scheme)
    for nonce in range(2):
        scheme.refund(stock.weather, RefundOptions(amount=str(2 * PRICE)))
        assert only_channel(stock).refund_nonce == nonce + 1
    await buy(stock, scheme)
    assert state(stock) == (DEPOSIT - 4 * PRICE, PRICE)
    assert held(stock)[0] == before - DEPOSIT + 4 * PRICE


async def test_the_server_refunds_idle_channels(stock: Stock) -> None:
    before, _, _ = held(stock)
    await buy(stock, stock.client_scheme(), times=2)
    (done,) = stock.manager.refund()
    (refunded,) = stock.events(done.transaction, "Refunded")
    assert refunded["amount"] == DEPOSIT - 2 * PRICE
    stock.manager.settle()
    assert held(stock) == (before - 2 * PRICE, 0, 2 * PRICE)


async def test_the_facilitator_may_authorize_for_the_server(anvil: str, token: str) -> None:
    stock = Stock(anvil, token, manages_itself=False)
    stock.fund()
    with stock.open():
        await buy(stock, stock.client_scheme(), times=2)
        stock.manager.claim_and_settle()
        (done,) = stock.manager.refund()
        assert stock.events(done.transaction, "Refunded")[0]["amount"] == DEPOSIT - 2 * PRICE
    assert held(stock)[1:] == (0, 2 * PRICE)


async def test_vouchers_may_be_signed_by_another_key(stock: Stock) -> None:
    scheme = stock.client_scheme(voucher_signer=EthAccountSigner(key_of("session")))
    await buy(stock, scheme, times=3)
    stock.manager.claim_and_settle()
    assert held(stock)[2] == 3 * PRICE


async def test_a_payer_without_an_authorizer_signs_as_an_account(stock: Stock) -> None:
    await buy(stock, stock.client_scheme(payer_authorizer=NOBODY), times=3)
    stock.manager.claim_and_settle()
    assert held(stock)[2] == 3 * PRICE


async def test_a_client_that_forgot_everything_goes_on_where_it_was(stock: Stock) -> None:
    await buy(stock, stock.client_scheme(), times=3)
    (receipt,) = await buy(stock, stock.client_scheme())
    assert receipt.extra["channelState"]["chargedCumulativeAmount"] == str(4 * PRICE)
    assert state(stock) == (DEPOSIT, 0)


async def signed_deposit(stock: Stock) -> tuple[PaymentPayload, PaymentRequirements]:
    """What the client would send for its first page, not sent."""
    async with httpx.AsyncClient(timeout=PATIENCE_S) as plain:
        refused = await plain.get(stock.weather)
    assert refused.status_code == 402
    required = decode_payment_required_header(refused.headers["PAYMENT-REQUIRED"])
    client = stock.client(stock.client_scheme())
    return await client.create_payment_payload(required), required.accepts[0]


async def test_a_deposit_is_taken_once(stock: Stock) -> None:
    payment, requirements = await signed_deposit(stock)
    before, _, _ = held(stock)
    assert stock.facilitator.settle(payment, requirements).success
    again = stock.facilitator.settle(payment, requirements)
    assert again.error_reason == ERR_DEPOSIT_SIMULATION_FAILED
    assert held(stock) == (before - DEPOSIT, DEPOSIT, 0)


@pytest.mark.parametrize("change", ["amount", "salt", "withdrawDelay", "receiver"])
async def test_a_deposit_is_good_for_what_was_signed_only(stock: Stock, change: str) -> None:
    payment, _ = await signed_deposit(stock)
    signed = DepositPayload.from_dict(payment.payload)
    config, amount = signed.channel_config, int(signed.deposit.amount)
    changed: dict[str, Any] = {
        "amount": (config, amount - 1),
        "salt": (replace(config, salt="0x" + "11" * 32), amount),
        "withdrawDelay": (replace(config, withdraw_delay=MAX_WITHDRAW_DELAY), amount),
        "receiver": (replace(config, receiver=key_of("thief").address), amount),
    }
    config, amount = changed[change]
    data = build_eip3009_deposit_collector_data(signed)
    call = stock.channels.functions.deposit(
        to_contract_channel_config(config), amount, ERC3009_DEPOSIT_COLLECTOR_ADDRESS, data
    )
    with pytest.raises(ContractCustomError, match=selector("InvalidSignature()")):
        call.call({"from": key_of("thief").address})


async def test_the_receiver_may_send_claims_and_refunds_itself(stock: Stock) -> None:
    before, _, _ = held(stock)
    await buy(stock, stock.client_scheme(), times=3)
    channel = only_channel(stock)
    claims = build_voucher_claim_args(stock.manager.get_claimable_vouchers())
    config = to_contract_channel_config(channel.channel_config)
    functions = stock.channels.functions
    claimed = send(stock, functions.claim(claims), stock.receiver.address)
    assert stock.events(claimed, "Claimed")[0]["newTotalClaimed"] == 3 * PRICE
    refund = functions.refund(config, 2**128 - 1)
    refunded = send(stock, refund, stock.receiver.address)
    assert stock.events(refunded, "Refunded")[0]["amount"] == DEPOSIT - 3 * PRICE
    stock.manager.settle()
    assert held(stock) == (before - 3 * PRICE, 0, 3 * PRICE)


async def test_the_payer_gets_out_alone_after_the_delay(stock: Stock) -> None:
    before, _, _ = held(stock)
    await buy(stock, stock.client_scheme(), times=3)
    config = to_contract_channel_config(only_channel(stock).channel_config)
    functions = stock.channels.functions
    started = send(stock, functions.initiateWithdraw(config, DEPOSIT), stock.payer.address)
    assert stock.events(started, "WithdrawInitiated")[0]["amount"] == DEPOSIT
    with pytest.raises(ContractCustomError, match=selector("WithdrawDelayNotElapsed()")):
        functions.finalizeWithdraw(config).call({"from": stock.payer.address})
    # Watched, the way out costs the server nothing: what it holds is claimed in time.
    stock.manager.claim_and_settle()
    rpc(stock.url, "evm_increaseTime", MIN_WITHDRAW_DELAY)
    rpc(stock.url, "evm_mine")
    ended = send(stock, functions.finalizeWithdraw(config), stock.payer.address)
    assert stock.events(ended, "WithdrawFinalized")[0]["amount"] == DEPOSIT - 3 * PRICE
    assert held(stock) == (before - 3 * PRICE, 0, 3 * PRICE)
