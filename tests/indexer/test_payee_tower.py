"""What payers withdraw from under charged queries is redeemed in time, by itself.

given a payer that has paid for queries, and begins to withdraw what covers them
  it is redeemed at the next look, and once
  a redemption that a reorg takes is sent again
  one that costs more than the operator allows is a warning, and is sent when it is allowed
  what one node does not draw, or says is drawn, the next one does
  a channel that owes less than it costs is left to the operator
given a transaction that no block takes
  it is replaced at a higher fee, with its nonce, up to the cap
  a new process replaces what the one before left in the pool
"""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.chain import mined_later
from support.liar import Liar, liar
from support.processes import eventually

from corechain.account import account_from_key
from corechain.chain import Chain
from corechain.devnet.settings import ADMIN_KEY, PAYEE_KEY
from corechain.node import ChainUnavailable, NodeRefusal
from corechain.transactions import TransactionPending, UrgentSender
from corechain_indexer.payee_tower import Drawing, PayeeTower
from indexer.support import World
from indexer.test_payments import PRICE, paid, pay, price_of

__all__ = ["paid"]

PAYEE = account_from_key(PAYEE_KEY)
DEAR = 10**13


async def owing(world: World, paid: Any) -> tuple[Any, Any, PayeeTower]:
    """Three queries are charged, and the payer has begun to withdraw what covers two of them."""
    indexer, api, channel, _ = paid
    price = await price_of(api, world)
    for _ in range(3):
        assert (await pay(api, world, channel.pay(price))).status_code == 200
    world.chain.initiate_withdraw(account_from_key(ADMIN_KEY), channel.config, 4 * PRICE)
    await indexer.settle()
    tower = indexer.indexer.payee_tower
    assert tower is not None
    return indexer, channel, tower


def drawn(world: World, channel: Any) -> int:
    return int(world.chain.channel_balance(channel.channel_id)[1])


async def test_what_a_payer_withdraws_is_redeemed_once_and_again_after_a_reorg(
    world: World, paid: Any
) -> None:
    indexer, channel, tower = await owing(world, paid)
    await tower.look()
    assert drawn(world, channel) == 3 * PRICE
    sent = world.chain.web3.eth.get_transaction_count(PAYEE.address)
    await tower.look()  # the mirror has not seen it yet: the chain has
    assert world.chain.web3.eth.get_transaction_count(PAYEE.address) == sent
    await indexer.settle()
    await tower.look()
    assert (list(tower.watch.endangered), tower.sentences()) == ([], [])
    assert indexer.metric("corechain_vouchers_rescued_total", what="redeemed") == 1
    world.rpc("evm_setAutomine", False)
    world.rpc("anvil_reorg", 1, [])
    world.rpc("anvil_dropAllTransactions")
    world.rpc("evm_setAutomine", True)
    world.rpc("evm_mine")
    assert drawn(world, channel) == 0
    await indexer.settle()
    await tower.look()
    assert drawn(world, channel) == 3 * PRICE


async def test_a_redemption_that_is_too_dear_is_a_warning_until_the_cap_is_raised(
    world: World, paid: Any
) -> None:
    indexer, channel, tower = await owing(world, paid)
    assert isinstance(tower.draw, Drawing)
    tower.draw.max_fee = 1
    await tower.look()
    assert drawn(world, channel) == 0
    assert tower.sentences()[0].startswith("payments: not redeemed:")
    assert indexer.metric("corechain_vouchers_rescued_total", what="failed") == 1
    tower.draw = Drawing(tower.draw.rpc_urls, tower.draw.deployment, PAYEE_KEY, DEAR)
    await tower.look()
    assert (drawn(world, channel), tower.sentences()) == (3 * PRICE, [])


def nothing_is_left(liar: Liar, call: dict[str, Any], result: Any) -> Any:
    """Deposit and claims of a channel: its last two words, in a multicall."""
    return result[:-128] + "0" * 128 if call["method"] == "eth_call" else result


@pytest.mark.parametrize("lies", [False, True])
async def test_what_one_node_does_not_draw_the_next_one_does(
    world: World, paid: Any, lies: bool
) -> None:
    """It is away, or says that there is nothing to draw."""
    _, channel, tower = await owing(world, paid)
    assert isinstance(tower.draw, Drawing)
    urls = tower.draw.rpc_urls
    with liar(urls[0], lie=nothing_is_left) as lying:
        tower.draw.rpc_urls = [lying.url if lies else "http://127.0.0.1:9", *urls]
        await tower.look()
        assert (drawn(world, channel), tower.draw.failed) == (0, 1)
        assert ("payments: not redeemed" in " ".join(tower.sentences())) != lies
        await tower.look()
    assert (drawn(world, channel), tower.sentences()) == (3 * PRICE, [])


async def test_a_channel_that_owes_less_than_it_costs_is_left_alone(
    world: World, paid: Any
) -> None:
    _, channel, tower = await owing(world, paid)
    tower.least = 2 * PRICE + 1
    await tower.look()
    assert drawn(world, channel) == 0
    assert len(tower.watch.endangered) == 1
    tower.least = 2 * PRICE
    await tower.look()
    assert drawn(world, channel) == 3 * PRICE


def in_pool(world: World) -> dict[int, int]:
    """Fee of each transaction of the payee's that waits for a block, by nonce."""
    content = world.rpc("txpool_content")["pending"]
    mine = next((of for who, of in content.items() if who.lower() == PAYEE.address.lower()), {})
    return {int(nonce): int(tx["maxFeePerGas"], 16) for nonce, tx in mine.items()}


def hurried(world: World, max_fee: int = DEAR, within_s: float = 120.0) -> Chain:
    """What a new process has."""
    chain = world.chain.in_a_hurry(max_fee, within_s)
    assert isinstance(chain._sender, UrgentSender)
    chain._sender.patience_s = 0.05
    return chain


def approving(chain: Chain) -> None:
    chain.send(PAYEE, "CoreToken", "approve", PAYEE.address, 1)


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_what_no_block_takes_is_replaced_at_a_higher_fee_by_a_new_process_too(world: World) -> None:
    before = world.chain.web3.eth.get_transaction_count(PAYEE.address)
    with mined_later(world.chain.rpc_url):
        with pytest.raises(TransactionPending):  # as if the process had died meanwhile
            approving(hurried(world, within_s=0.2))
        (left,) = in_pool(world).values()
        thread = in_background(lambda: approving(hurried(world)))
        assert eventually(lambda: max(in_pool(world).values()) > 2 * left)
        assert list(in_pool(world)) == [before]
        world.rpc("evm_mine")
        thread.join()
    assert world.chain.web3.eth.get_transaction_count(PAYEE.address) == before + 1


@pytest.mark.parametrize("error", [ChainUnavailable("gone"), NodeRefusal("send", -32000, "odd")])
def test_a_later_attempt_that_is_not_taken_leaves_the_earlier_one_to_be_mined(
    world: World, error: ChainUnavailable
) -> None:
    """Whoever heard that nothing was sent would send it with the next nonce."""
    chain, sent = hurried(world), list[str]()
    call = chain._sender.node.call

    def taken_once(method: str, *params: Any) -> Any:
        if method == "eth_sendRawTransaction":
            sent.append(params[0])
            if len(sent) > 1:
                raise error
        return call(method, *params)

    chain._sender.node.call = taken_once
    before = world.chain.web3.eth.get_transaction_count(PAYEE.address)
    with mined_later(world.chain.rpc_url):
        thread = in_background(lambda: approving(chain))
        assert eventually(lambda: len(sent) > 2)
        world.rpc("evm_mine")
        thread.join()
    assert world.chain.web3.eth.get_transaction_count(PAYEE.address) == before + 1


def test_a_fee_rises_to_its_cap_and_no_further(world: World) -> None:
    with mined_later(world.chain.rpc_url):
        base = world.chain.web3.eth.get_block("latest")["baseFeePerGas"]
        cap = 5 * base
        thread = in_background(lambda: approving(hurried(world, cap)))
        assert eventually(lambda: list(in_pool(world).values()) == [cap])
        world.rpc("evm_mine")
        thread.join()
