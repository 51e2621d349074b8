"""Drawing on vouchers: what was charged, from any number of channels, whatever became of some.

Given vouchers that were paid with, on a chain that moves
  ├── each is drawn once, however often the command runs, and before the mirror has seen it,
  │   whatever one of three nodes says
  ├── one that a payer has withdrawn under is drawn as far as it is covered, the others in full
  ├── one that an older version took for more than it charged is drawn to what was charged
  ├── one of another payee's is left out, by name
  └── more than fit into a transaction take several, at the price of the packed call
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from support.liar import liar_of_three

from corechain.account import account_from_key
from corechain.chain import Chain
from corechain.devnet.settings import ADMIN_KEY, PAYEE_KEY
from corechain.payments import PaymentChannel, channel_to
from corechain.protocol.channel import Voucher
from corechain.protocol.keys import Secp256k1Key
from corechain.service.agreed_chain import chain_of
from corechain.service.node_settings import NodeSettings
from corechain.service.settings import load
from corechain_indexer import redeem as redeeming
from corechain_indexer.api.x402 import config_json
from corechain_indexer.redeem import Redeemed, redeem
from indexer.site import PAYEE
from indexer.support import World

PRICE = 1_000
PAYER = account_from_key(ADMIN_KEY)


@dataclass
class Till:
    """Vouchers as rows of the database, on open channels."""

    chain: Chain

    def channel(self, salt: int, deposit: int, receiver: bytes = PAYEE) -> PaymentChannel:
        contracts = self.chain.deployment
        made = channel_to(
            receiver,
            Secp256k1Key(bytes(PAYER.key)),
            token=contracts.address("CoreToken"),
            chain_id=contracts.chain_id,
            payment_channels=contracts.address("PaymentChannels"),
            withdraw_delay_s=900,
            salt=salt.to_bytes(32, "big"),
        )
        self.chain.open_channel(PAYER, made.config, deposit)
        return made

    def row(self, channel: PaymentChannel, charged: int, signed: int | None = None) -> Any:
        """As `open_vouchers` reads it; the mirror has seen no claim yet."""
        amount = charged if signed is None else signed
        digest = Voucher(channel.channel_id, amount).digest(channel.domain)
        return {
            "channel_id": channel.channel_id,
            "amount": amount,
            "charged": charged,
            "signature": channel.key.sign(digest),
            "config": config_json(channel.config),
            "queries": charged // PRICE,
            "claimed": 0,
        }

    def drawn(self, channel: PaymentChannel) -> int:
        return self.chain.channel_balance(channel.channel_id)[1]

    def redeem(self, *rows: Any) -> Redeemed:
        before = self.chain.balance_of(PAYEE)
        done = redeem(self.chain, PAYEE_KEY, rows)
        assert self.chain.balance_of(PAYEE) == before + done.amount
        json.dumps(done.summary())
        return done


@pytest.fixture
def till(world: World) -> Till:
    return Till(world.chain)


def withdraw(world: World, channel: PaymentChannel, amount: int) -> None:
    world.chain.initiate_withdraw(PAYER, channel.config, amount)
    world.pass_time(901)
    world.chain.finalize_withdraw(PAYER, channel.config)


@pytest.fixture
def till_of_three(world: World) -> Iterator[Till]:
    """As the command asks for three nodes in the settings, one of which lies."""
    with liar_of_three(world.chain.rpc_url) as urls:
        chain = chain_of(load(NodeSettings, {"RPC_URL": urls}), world.chain.deployment)
        yield Till(chain)
        chain.close()


def test_each_voucher_is_drawn_once_however_often_one_runs(till_of_three: Till) -> None:
    till = till_of_three
    channel = till.channel(1, 9 * PRICE)
    first = till.redeem(till.row(channel, 3 * PRICE))
    assert (first.vouchers, first.amount, len(first.transactions)) == (1, 3 * PRICE, 1)
    again = till.redeem(till.row(channel, 3 * PRICE))
    assert (again.vouchers, again.amount, again.transaction) == (0, 0, None)
    more = till.redeem(till.row(channel, 5 * PRICE))
    assert (more.amount, till.drawn(channel)) == (2 * PRICE, 5 * PRICE)


def test_a_voucher_that_lost_its_cover_fails_no_other(till: Till, world: World) -> None:
    sound, partly, empty = (till.channel(salt, 4 * PRICE) for salt in (1, 2, 3))
    withdraw(world, partly, 3 * PRICE)
    withdraw(world, empty, 4 * PRICE)
    done = till.redeem(*(till.row(channel, 2 * PRICE) for channel in (sound, partly, empty)))
    assert (done.vouchers, done.amount, done.short) == (2, 3 * PRICE, 3 * PRICE)
    assert [till.drawn(channel) for channel in (sound, partly, empty)] == [2 * PRICE, PRICE, 0]


class Late(Chain):
    """A chain whose channels lose their cover after they were looked at."""

    def channel_balances(self, channel_ids: Sequence[bytes]) -> list[tuple[int, int]]:
        return [(10**9, 0) for _ in channel_ids]


@pytest.mark.parametrize("packed", [True, False])
def test_a_voucher_that_loses_its_cover_in_the_meantime_is_left_out(
    till: Till, world: World, packed: bool
) -> None:
    channels = [till.channel(salt, 4 * PRICE) for salt in range(1, 6)]
    withdraw(world, channels[2], 3 * PRICE)
    late = Till(Late(world.chain.rpc_url, world.chain.deployment))
    signed = 2 * PRICE + (0 if packed else 1)
    done = late.redeem(*(till.row(channel, 2 * PRICE, signed) for channel in channels))
    assert (done.vouchers, done.amount) == (4, 8 * PRICE)
    assert list(done.refused) == ["0x" + channels[2].channel_id.hex()]


def test_what_was_signed_for_more_is_drawn_to_what_was_charged(till: Till) -> None:
    channels = [till.channel(salt, 30 * PRICE) for salt in range(3)]
    done = till.redeem(*(till.row(channel, 8 * PRICE, 24 * PRICE) for channel in channels))
    assert (done.vouchers, done.amount) == (3, 24 * PRICE)
    assert all(till.drawn(channel) == 8 * PRICE for channel in channels)


def test_a_voucher_for_another_payee_is_left_out(till: Till) -> None:
    other = till.channel(1, 9 * PRICE, receiver=b"\x55" * 20)
    ours = till.channel(2, 9 * PRICE)
    done = till.redeem(till.row(other, PRICE), till.row(ours, PRICE))
    assert (done.vouchers, done.amount) == (1, PRICE)
    assert done.refused == {"0x" + other.channel_id.hex(): "the channel pays another account"}


def test_an_amount_over_96_bits_is_drawn_too(till: Till) -> None:
    row = till.row(till.channel(1, 9 * PRICE), PRICE, signed=1 << 100)
    assert till.redeem(row).amount == PRICE


def test_more_than_fit_into_a_transaction_take_several(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeeming, "AT_ONCE", 4)
    monkeypatch.setattr(redeeming, "CLAIMED_AT_ONCE", 2)
    channels = [till.channel(salt, 9 * PRICE) for salt in range(13)]
    rows = [till.row(channel, 2 * PRICE) for channel in channels[:10]]
    older = [till.row(channel, 2 * PRICE, 3 * PRICE) for channel in channels[10:]]
    done = till.redeem(*rows, *older)
    assert (done.vouchers, done.queries, done.amount) == (13, 26, 26 * PRICE)
    assert len(done.transactions) == 3 + 2
    packed = [till.chain.web3.eth.get_transaction(h)["input"] for h in done.transactions[:3]]
    assert sum(map(len, packed)) < 10 * 130 + 3 * 40, "packed, not by ABI"


def test_a_contract_without_packed_calls_is_known(till: Till) -> None:
    assert till.chain.takes_packed_redemptions()
    contracts = dict(till.chain.deployment.contracts)
    # The token stands for any contract that does not know the function, as x402's own does not.
    contracts["PaymentChannels"] = contracts["CoreToken"]
    other = Chain(till.chain.rpc_url, type(till.chain.deployment)(31337, contracts))
    assert not other.takes_packed_redemptions()


def test_runs_at_the_same_time_draw_once(till: Till) -> None:
    channels = [till.channel(salt, 9 * PRICE) for salt in range(3)]
    rows = [till.row(channel, 2 * PRICE) for channel in channels]
    before = till.chain.balance_of(PAYEE)

    async def both() -> list[Any]:
        runs = (asyncio.to_thread(redeem, till.chain, PAYEE_KEY, rows) for _ in range(2))
        return await asyncio.gather(*runs, return_exceptions=True)

    done = asyncio.run(both())
    assert till.chain.balance_of(PAYEE) == before + 6 * PRICE
    assert sum(run.amount for run in done if isinstance(run, Redeemed)) == 6 * PRICE
