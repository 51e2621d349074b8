"""The SDK on nodes with other habits than anvil's, by a proxy before a real one.

given a provider
  ├── blocks with 97 bytes of extraData, without base fee, or a node that names no priority fee:
  │   transactions go through
  ├── logs are asked for in ranges that it takes, whatever its words for "too much"
  ├── a receipt that is null, or names no block yet, is waited for; one that never comes is typed
  ├── a transaction whose answer is lost is sent once, and waited for
  ├── batches are taken apart where it refuses them
  └── an address without contracts is another chain
"""

import threading

import pytest
from support.provider import LEGACY, POLYGON, Habits, provider

from corechain import block_times, node, transactions
from corechain.account import account_from_key
from corechain.chain import Chain, ChainUnavailable, TransactionPending
from corechain.deployment import DeployedContract, Deployment, load_deployment
from corechain.devnet.servers import rpc
from corechain.devnet.settings import ADMIN_KEY, SUBMITTER_KEY
from corechain.node import AnswerLost, NodeRefusal, UnfitAnswer
from corechain.protocol.archive import Group
from corechain.protocol.errors import UnknownBatch, WrongChain
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import KeyType, P256Key, Secp256k1Key
from corechain.protocol.rewards import Owner

ADMIN = account_from_key(ADMIN_KEY)
HOLDER = b"\x09" * 20
SIZE_REFUSALS = [
    (200, {"code": -32005, "message": "query returned more than 10000 results"}),
    (200, {"code": -32600, "message": "block range is too wide"}),
    (200, {"code": -32000, "message": "exceed maximum block range: 5"}),
    (400, {"code": -32602, "message": "Log response size exceeded"}),
    (413, None),
    (503, None),
]


@pytest.fixture
def known(anvil, deployment, chain_state):
    return load_deployment(deployment)


@pytest.fixture
def hosted(anvil, known):
    """A provider of default habits, to be changed, and the SDK's chain behind it."""
    with provider(anvil, Habits()) as running:
        chain = Chain(running.url, known)
        yield running, chain
        chain.close()


def commit(chain, number, word):
    chain.send(account_from_key(SUBMITTER_KEY), "DataBatches", "commit", number, word)


@pytest.mark.parametrize(
    "habits",
    [
        POLYGON,
        LEGACY,
        Habits(unknown_methods=("eth_maxPriorityFeePerGas", "eth_feeHistory")),
        Habits(null_receipts=3),
        Habits(null_receipts=1, pending_receipts=2),
    ],
)
def test_a_transaction_goes_through(hosted, habits):
    running, chain = hosted
    running.habits = habits
    before = chain.balance_of(HOLDER)
    receipt = chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 5)
    assert receipt["status"] == 1
    assert receipt["gasUsed"] > 21_000
    assert chain.balance_of(HOLDER) == before + 5


def test_a_legacy_chain_gets_a_legacy_transaction(hosted):
    running, chain = hosted
    running.habits = LEGACY
    chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 1)
    (raw,) = running.asked("eth_sendRawTransaction")[-1]
    assert int(raw[2:4], 16) >= 0xC0, "a list: no type byte before it (EIP-2718)"


def test_web3_reads_blocks_of_a_polygon(hosted):
    running, chain = hosted
    running.habits = POLYGON
    block = chain.web3.eth.get_block("latest")
    assert len(block["proofOfAuthorityData"]) == 97
    assert chain.web3.is_connected()
    name = chain.contract("CoreToken").functions.name().call()
    assert isinstance(name, str)


@pytest.mark.parametrize("refusal", SIZE_REFUSALS)
def test_logs_are_asked_for_in_ranges_that_the_provider_takes(hosted, refusal):
    running, chain = hosted
    words = [bytes([n]) * 26 for n in (1, 2, 3)]
    for number, word in enumerate(words, 1):
        commit(chain, number, word)
        rpc(running.upstream, "anvil_mine", hex(8))
    running.habits = Habits(max_range_blocks=5, refusal=refusal)
    assert chain.committed_batches() == words
    assert len(running.asked("eth_getLogs")) > 3


@pytest.mark.parametrize("refusal", SIZE_REFUSALS)
def test_a_limit_on_results_halves_the_range(hosted, refusal):
    running, chain = hosted
    words = [bytes([n]) * 26 for n in range(1, 6)]
    for number, word in enumerate(words, 1):
        commit(chain, number, word)
    running.habits = Habits(max_logs=1, refusal=refusal)
    assert chain.committed_batches() == words


def test_a_provider_that_refuses_even_one_block_is_unavailable(hosted):
    running, chain = hosted
    running.habits = Habits(max_range_blocks=0)
    with pytest.raises(ChainUnavailable):
        chain.committed_batches()


def test_no_query_spans_the_whole_chain(hosted, monkeypatch):
    """As on a chain that has run for a year, in small: the ranges are what providers allow."""
    monkeypatch.setattr(node, "FIRST_RANGE_BLOCKS", 20)
    running, chain = hosted
    rpc(running.upstream, "anvil_mine", hex(150))
    running.habits = Habits(max_range_blocks=20)
    with pytest.raises(UnknownBatch):
        chain.commitment_of(77)
    spans = [
        int(query["toBlock"], 16) - int(query["fromBlock"], 16) + 1
        for (query,) in running.asked("eth_getLogs")
    ]
    assert sum(spans) > 150
    assert len([span for span in spans if span > 20]) <= 1, "one try shows the limit"


def test_a_group_is_found_at_once_where_the_hint_says(hosted):
    running, chain = hosted
    words = [bytes([n]) * 26 for n in range(1, 5)]
    submitter = account_from_key(SUBMITTER_KEY)
    receipt = chain.send(submitter, "DataBatches", "commitMany", 1, Group(1, words).packed)
    rpc(running.upstream, "anvil_mine", hex(5))
    block = receipt["blockNumber"]
    found = chain.commitments_of(dict.fromkeys((1, 2, 3, 4), block))
    assert found == dict(enumerate(words, 1))
    assert [q["fromBlock"] for (q,) in running.asked("eth_getLogs")] == [hex(block)]
    # A hint that lies costs a search, no more.
    assert chain.commitments_of({2: 1, 3: 10**12, 4: None}) == {
        number: words[number - 1] for number in (2, 3, 4)
    }


def test_a_node_that_has_not_come_so_far_is_behind_not_wrong(hosted):
    _, chain = hosted
    with pytest.raises(ChainUnavailable, match="ask again"):
        chain.commitments_of({99: 10**9})
    with pytest.raises(UnknownBatch):
        chain.commitments_of({99: 1})


@pytest.mark.parametrize("limit", [0, 3, None])
def test_commitments_are_looked_up_in_batches_where_the_provider_takes_them(hosted, limit):
    running, chain = hosted
    words = {number: bytes([number]) * 26 for number in range(1, 6)}
    for number, word in words.items():
        commit(chain, number, word)
    running.habits = Habits(max_batch=limit)
    assert chain.commitments_of(dict.fromkeys(words)) == words
    with pytest.raises(UnknownBatch):
        chain.commitments_of({1: None, 99: None})


def test_a_fleet_is_found_range_by_range(hosted):
    running, chain = hosted
    devices = [Secp256k1Key(bytes(31) + bytes([n])).identity.device for n in range(0x70, 0x73)]
    chain.send(ADMIN, "DeviceRegistry", "setEnroller", ADMIN.address, True)
    chain.enrol_fleet(ADMIN, Fleet.of(HOLDER, KeyType.SECP256K1, devices))
    running.habits = Habits(max_range_blocks=4)
    assert chain.owner_and_key_type(devices[1]) == (HOLDER, 1)
    asked = len(running.asked("eth_getLogs"))
    assert chain.fleet_of(devices[2]).owner == HOLDER
    assert len(running.asked("eth_getLogs")) == asked, "what was read is kept"


def test_a_key_is_looked_for_where_its_device_was_registered(hosted, monkeypatch):
    """Not in all blocks since the deployment: an old chain has 12,600 ranges of them."""
    running, chain = hosted
    monkeypatch.setattr(block_times, "SPAN_BLOCKS", 8)
    monkeypatch.setattr(node, "FIRST_RANGE_BLOCKS", 8)
    chain.node.call("anvil_mine", hex(100), hex(2))
    secure = [P256Key(bytes(31) + bytes([n])).identity for n in (0x75, 0x76)]
    chain.send(ADMIN, "DeviceRegistry", "setEnroller", ADMIN.address, True)
    chain.enrol_fleet(ADMIN, Fleet.of(HOLDER, KeyType.P256, [one.device for one in secure]))
    chain.publish_keys(ADMIN, [one.public_key for one in secure])
    chain.node.call("anvil_mine", hex(100), hex(2))
    # The fleet is looked for at first, and known then; a node that refuses old blocks is asked all.
    for most, pruned in (30, 0), (3, 0), (30, chain.node.head()):
        running.habits = Habits(max_range_blocks=8, pruned_below=pruned)
        before = len(running.asked("eth_getLogs"))
        assert chain.public_key_of(secure[1].device) == secure[1].public_key
        assert len(running.asked("eth_getLogs")) - before <= most


def test_a_receipt_that_never_comes_is_told_with_its_transaction(hosted, monkeypatch):
    running, chain = hosted
    monkeypatch.setattr(chain._sender, "receipt_timeout_s", 0.3)
    running.habits = Habits(null_receipts=10**6)
    with pytest.raises(TransactionPending) as caught:
        chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 7)
    running.habits = Habits()
    mined = chain.node.call("eth_getTransactionReceipt", "0x" + caught.value.transaction.hex())
    assert mined["status"] == "0x1"


def test_an_outage_between_sending_and_receipt_is_waited_out(hosted, monkeypatch):
    running, chain = hosted
    monkeypatch.setattr(transactions, "FIRST_PAUSE_S", 0.01)
    real = chain._sender._broadcast

    def broadcast_then_outage(*sent):
        real(*sent)
        running.habits = Habits(busy=running._asked[""] + 3)

    monkeypatch.setattr(chain._sender, "_broadcast", broadcast_then_outage)
    assert chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 9)["status"] == 1


@pytest.mark.parametrize("odd", [{"logs": None}, {"status": "ok"}, {"transactionHash": "0x11"}])
def test_a_receipt_that_says_too_little_is_waited_out(hosted, monkeypatch, odd):
    """It is sent: whoever heard of an outage would send it again."""
    _, chain = hosted
    monkeypatch.setattr(transactions, "FIRST_PAUSE_S", 0.01)
    real, odd_ones = chain._sender.node.call, [odd, odd]

    def says_little(method, *params):
        found = real(method, *params)
        is_odd = method == "eth_getTransactionReceipt" and found and odd_ones
        return found | odd_ones.pop() if is_odd else found

    monkeypatch.setattr(chain._sender.node, "call", says_little)
    assert chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 9)["status"] == 1
    assert odd_ones == []


def test_what_was_sent_before_is_waited_for(hosted, monkeypatch):
    """As when something between us and the node repeats a request."""
    _, chain = hosted
    real = chain._sender.node.call

    def twice(method, *params):
        if method == "eth_sendRawTransaction":
            real(method, *params)
        return real(method, *params)

    monkeypatch.setattr(chain._sender.node, "call", twice)
    assert chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 9)["status"] == 1


@pytest.mark.parametrize("lost", [1, transactions.SEND_TRIES])
@pytest.mark.parametrize("unknown", [(), ("eth_getTransactionByHash",)])
def test_what_the_node_took_though_its_answer_was_lost_is_sent_once(
    hosted, monkeypatch, lost, unknown
):
    """Whoever hears of an outage sends again, with another nonce."""
    running, chain = hosted
    monkeypatch.setattr(transactions, "LOST_PAUSE_S", 0.01)
    running.habits, before = Habits(lost_sends=lost, unknown_methods=unknown), len(running.calls)
    held = chain.balance_of(HOLDER)
    assert chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 9)["status"] == 1
    sent = [c["params"] for c in running.calls[before:] if c["method"] == "eth_sendRawTransaction"]
    assert len(sent) == min(lost + 1, transactions.SEND_TRIES)
    assert sent == sent[:1] * len(sent)
    assert chain.balance_of(HOLDER) == held + 9


def test_a_node_that_was_reached_once_and_is_gone_may_have_the_transaction(hosted, monkeypatch):
    _, chain = hosted
    monkeypatch.setattr(transactions, "LOST_PAUSE_S", 0.01)
    monkeypatch.setattr(chain._sender, "receipt_timeout_s", 0.1)
    errors = [AnswerLost("reset"), *[ChainUnavailable("refused")] * (transactions.SEND_TRIES - 1)]
    real = chain._sender.node.call

    def gone(method, *params):
        if method == "eth_sendRawTransaction":
            raise errors.pop(0)
        return real(method, *params)

    monkeypatch.setattr(chain._sender.node, "call", gone)
    with pytest.raises(TransactionPending, match=r"may have been sent.*last word: refused"):
        chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 9)
    errors[:] = [ChainUnavailable("refused")]
    with pytest.raises(ChainUnavailable, match=r"^refused$"):  # nobody has it
        chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 9)


SAID = {
    "a time-out of the node": NodeRefusal("eth_sendRawTransaction", -32002, "request timed out"),
    "a sequencer": NodeRefusal("eth_sendRawTransaction", -32000, "forward tx to sequencer: EOF"),
    "a fault inside": NodeRefusal("eth_sendRawTransaction", -32603, "Internal error"),
    "another answer": AnswerLost("the node answered another request"),
}


@pytest.mark.parametrize("first", SAID.values(), ids=SAID.keys())
def test_what_was_taken_with_no_clear_answer_is_sent_once(hosted, monkeypatch, first):
    """Its nonce is spent, and the node that is asked then does not know it yet."""
    _, chain = hosted
    monkeypatch.setattr(transactions, "LOST_PAUSE_S", 0.01)
    real, said = chain._sender.node.call, [first]

    def unclear(method, *params):
        if method == "eth_getTransactionByHash":
            return None
        done = real(method, *params)
        if method == "eth_sendRawTransaction" and said:
            raise said.pop()
        return done

    monkeypatch.setattr(chain._sender.node, "call", unclear)
    held = chain.balance_of(HOLDER)
    assert chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 9)["status"] == 1
    assert chain.balance_of(HOLDER) == held + 9


@pytest.mark.parametrize("page", [b"<html>no</html>", b'{"message": "no"}', b'{"error": "no"}'])
def test_who_may_not_write_hears_it_at_once(hosted, page):
    """A page of whoever stands before the node, which let nothing pass."""
    running, chain = hosted
    running.habits = Habits(lost_sends=10**6, lost_page=(403, page))
    with pytest.raises(UnfitAnswer, match="HTTP 403"):
        chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 9)
    assert len(running.asked("eth_sendRawTransaction")) == 1


def test_a_nonce_that_another_transaction_took_is_refused(hosted, monkeypatch):
    _, chain = hosted
    real = chain._sender._filled

    def stale(*asked):
        return real(*asked) | {"nonce": 0}

    monkeypatch.setattr(chain._sender, "_filled", stale)
    with pytest.raises(ChainUnavailable, match="nonce"):
        chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 9)


def test_threads_that_send_from_one_account_take_nonces_one_by_one(hosted):
    _, chain = hosted
    before, done = chain.balance_of(HOLDER), []

    def send():
        done.append(chain.send(ADMIN, "CoreToken", "transfer", HOLDER, 1)["status"])

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [1] * 8
    assert chain.balance_of(HOLDER) == before + 8


def test_an_address_without_a_contract_is_another_chain(anvil, known):
    contracts = {
        name: DeployedContract(name, b"\x77" * 20, contract.block)
        for name, contract in known.contracts.items()
    }
    chain = Chain(anvil, Deployment(known.chain_id, contracts))
    for ask in (
        lambda: chain.balance_of(HOLDER),
        lambda: chain.commitment_of(1),
        lambda: chain.active_root(),
        lambda: chain.owner_and_key_type(HOLDER),
        lambda: chain.channel_balance(bytes(32)),
    ):
        with pytest.raises(WrongChain, match="there is no"):
            ask()


def test_a_busy_provider_is_unavailable_and_then_not(hosted):
    running, chain = hosted
    running.habits = Habits(busy=1, retry_after="")
    with pytest.raises(ChainUnavailable, match="429"):
        chain.balance_of(Owner(HOLDER))
    assert chain.balance_of(Owner(HOLDER)) >= 0
