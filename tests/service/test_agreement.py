"""What may be believed of several nodes' answers, whatever some of them say.

given as many honest nodes as must agree, each as far as its lag lets it be, and liars beside them
  ├── what is believed is the truth, or nothing is believed
  ├── logs of a range that an honest node has not seen to its end are never taken for whole
  └── once the honest ones have seen all that was asked for, it is believed
given any questions, and nodes that give any answers, alike or not
  └── there is an answer, an outage or a refusal, and no mistake of ours
"""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.service.agreement import Poll, Silence, Versions, newest_named, word_of
from corechain.service.errors import (
    NodeBehind,
    NodeRefused,
    NodesDisagree,
    NodeUnavailable,
    QuorumLost,
)
from corechain.service.rpc import Call
from corechain.service.standing import CALM_AFTER_S, LONGEST_PAUSE_S, Standing

ADDRESS = "0x" + "11" * 20
HEIGHT = 6


def header(number: int, **changes: Any) -> dict[str, Any]:
    made = {
        "number": hex(number),
        "hash": f"0x{number:064x}",
        "parentHash": f"0x{number - 1:064x}" if number else "0x" + "00" * 32,
        "timestamp": hex(1000 + number),
        "logsBloom": "0x" + "ff" * 256,
    }
    return made | changes


def entry(number: int, index: int = 0, **changes: Any) -> dict[str, Any]:
    made = {
        "address": ADDRESS,
        "topics": [],
        "data": f"0x{number:02x}",
        "blockNumber": hex(number),
        "blockHash": f"0x{number:064x}",
        "transactionHash": "0x" + "22" * 32,
        "logIndex": hex(index),
    }
    return made | changes


def question(first: int, last: int) -> list[Call]:
    """As a reader asks about a range deep below the head."""
    query = {"address": [ADDRESS], "topics": [], "fromBlock": hex(first), "toBlock": hex(last)}
    return [
        Call("eth_getBlockByNumber", (hex(first), False)),
        Call("eth_getLogs", (query,)),
        Call("eth_getBlockByNumber", (hex(last), False)),
    ]


def honest(first: int, last: int, height: int) -> list[Any]:
    """What a node that has seen blocks up to a height answers: it leaves out what it lacks."""
    logs = [entry(n) for n in range(first, last + 1) if n <= height and n % 2]
    return [header(n) if n <= height else None for n in (first,)] + [
        logs,
        header(last) if last <= height else None,
    ]


REFUSED = NodeRefused("eth_getLogs", -32000, "too many")
lies = st.sampled_from(["null", "refuse", "other hash", "other parent", "fewer", "more", "data",
                        "junk", "zeros", "truth"])  # fmt: skip


def told(lie: str, honestly: Any) -> Any:
    if lie == "null":
        return None
    if lie == "refuse":
        return REFUSED
    if lie == "junk":
        return [7]
    if isinstance(honestly, dict):
        changes = {
            "other hash": {"hash": "0x" + "ee" * 32},
            "other parent": {"parentHash": "0x" + "ee" * 32},
            "zeros": {"logsBloom": "0x" + "00" * 256},
        }
        return honestly | changes.get(lie, {})
    if isinstance(honestly, list) and honestly:
        changed = {
            "fewer": honestly[:-1],
            "more": [*honestly, honestly[-1] | {"logIndex": "0x9"}],
            "data": [*honestly[:-1], honestly[-1] | {"data": "0x99"}],
        }
        return changed.get(lie, honestly)
    return honestly


@st.composite
def polls(draw: st.DrawFn) -> tuple[Poll, int, int, list[int]]:
    """A poll in which everyone has answered, its range, and how far the honest nodes have seen."""
    quorum = draw(st.integers(1, 4))
    liars = draw(st.integers(0, quorum - 1))
    first = draw(st.integers(1, HEIGHT))
    last = draw(st.integers(first, HEIGHT))
    seen = draw(st.lists(st.integers(0, HEIGHT), min_size=quorum, max_size=2 * quorum - 1))
    answers = [honest(first, last, height) for height in seen]
    for _ in range(liars):
        base = honest(first, last, draw(st.integers(0, HEIGHT)))
        answers.append([told(draw(lies), item) for item in base])
    poll = Poll(question(first, last), quorum)
    for node, said in draw(st.permutations(list(enumerate(answers)))):
        try:
            poll.hear(node, said)
        except NodeUnavailable as error:
            poll.fail(node, str(error))
    return poll, first, last, seen


@given(polls())
def test_what_is_believed_is_the_truth_or_nothing_is(drawn: tuple[Poll, int, int, Any]) -> None:
    poll, first, last, _ = drawn
    try:
        answers = poll.answers()
    except (QuorumLost, NodeBehind):
        return
    truth = honest(first, last, HEIGHT)
    for found, true in zip(answers, truth, strict=True):
        if isinstance(found, dict):
            assert found.items() <= true.items()  # perhaps without its filter
        elif found is not None and not isinstance(found, NodeRefused):
            assert found == true


@given(polls())
def test_what_enough_honest_nodes_have_seen_is_believed(drawn: tuple[Poll, int, int, Any]) -> None:
    poll, first, last, seen = drawn
    if sum(height >= last for height in seen) >= poll.quorum:
        assert word_of(poll.calls[1], poll.answers()[1]) == word_of(
            poll.calls[1], honest(first, last, HEIGHT)[1]
        )
        assert not any(poll.contradicting().get(n) == "block" for n in range(len(seen)))


def test_a_refusal_by_too_many_is_the_answer() -> None:
    poll = Poll(question(1, 2), 2)
    for node in (1, 2):
        poll.hear(node, [header(1), REFUSED, header(2)])
    poll.hear(3, honest(1, 2, 2))
    assert poll.answers() == [header(1), REFUSED, header(2)]


def test_null_is_believed_when_nobody_knows_better() -> None:
    call = [Call("eth_getBlockByHash", ("0x" + "01" * 32, False))]
    poll = Poll(call, 2)
    poll.hear(1, [None])
    with pytest.raises(QuorumLost, match="2 nodes must agree and 1 answered"):
        poll.answers()
    poll.hear(2, [None])
    assert poll.answers() == [None]
    poll.hear(3, [header(1, hash="0x" + "01" * 32)])
    with pytest.raises(NodeBehind, match="too few"):
        poll.answers()


def test_who_disagrees_about_what_is_said() -> None:
    poll = Poll(question(1, 3), 2)
    poll.hear(1, honest(1, 3, 3))
    poll.hear(2, [header(1), [entry(1)], header(3)])
    with pytest.raises(NodesDisagree, match=r"nodes 1 and 2 disagree about logs .*0x1 to 0x3"):
        poll.answers()


def test_the_same_logs_in_another_order_and_with_other_fields_are_the_same() -> None:
    logs = [entry(1, 0), entry(1, 1)]
    other = [entry(1, 1, blockTimestamp="0x5"), entry(1, 0, removed=False)]
    versions = Versions(question(1, 1)[1])
    assert [versions.place(logs), versions.place(other)] == [0, 0]
    assert versions.place([entry(1, 0)]) == 1


def test_receipts_and_other_answers_are_compared_by_what_they_mean() -> None:
    receipt = Call("eth_getTransactionReceipt", ("0x1",))
    one = {"transactionHash": "0xAB", "blockHash": "0x1", "blockNumber": "0x1", "status": "0x1"}
    assert word_of(receipt, one | {"gasUsed": "0x5"}) == word_of(receipt, one)
    assert word_of(receipt, one | {"blockHash": "0x2"}) != word_of(receipt, one)
    assert word_of(Call("x"), {"a": 1, "b": 2}) == word_of(Call("x"), {"b": 2, "a": 1})


def test_the_newest_block_that_a_question_names() -> None:
    by_hash = Call("eth_getLogs", ({"blockHash": "0x1"},))
    latest = Call("eth_getBlockByNumber", ("latest", False))
    assert newest_named([*question(3, 9), by_hash, latest]) == 9
    assert newest_named([by_hash, latest]) == 0
    assert newest_named([Call("eth_getBlockByNumber", ("earliest", False)), *question(3, 9)]) == 9


ASKED = [
    *(
        Call("eth_getBlockByNumber", (t, False))
        for t in ("0x4", "earliest", "pending", "finalized")
    ),
    Call("eth_getBlockByHash", (header(4)["hash"], False)),
    Call("eth_getLogs", ({},)),
    Call("eth_getLogs", ({"fromBlock": "earliest", "toBlock": "latest", "address": ADDRESS},)),
    Call("eth_getLogs", ({"blockHash": header(4)["hash"], "topics": None},)),
    *(
        Call(f"eth_{name}", (ADDRESS, "0x4"))
        for name in ("chainId", "getTransactionReceipt", "call")
    ),
]
SAID: list[Any] = [None, True, 7, "", "0x", "0x4", [], {}, [None], [{}], {"hash": None}, header(4),
        [entry(4)], header(4) | {"logsBloom": None}, [entry(4), entry(4)], [entry(4, topics=None)],
        *(NodeRefused("x", 3, "no", data) for data in (None, "", "0x", "zz", "0x12"))]  # fmt: skip


@given(st.lists(st.sampled_from(ASKED), min_size=1, max_size=3), st.integers(1, 2), st.data())
def test_whatever_is_asked_and_said_ends_in_no_mistake_of_ours(
    calls: list[Call], quorum: int, data: st.DataObject
) -> None:
    answers = st.lists(st.sampled_from(SAID), min_size=len(calls), max_size=len(calls))
    pool, poll = data.draw(st.lists(answers, min_size=1, max_size=2)), Poll(calls, quorum)
    newest_named(calls)
    for node in (1, 2, 3):
        with suppress(NodeUnavailable):
            poll.hear(node, data.draw(st.sampled_from(pool)))
    assert poll.contradicting().keys() <= poll.ballots.keys()
    for tag in map(poll.named_by, poll.tagged):
        tag.candidates(quorum)
    for few in (quorum, max(1, len(poll.ballots))):
        with suppress(NodeUnavailable):
            poll.among(few).answers()


@pytest.mark.parametrize("said", [[], "rate limited", 7])
def test_what_is_no_block_is_none_though_all_nodes_say_it(said: object) -> None:
    poll = Poll([Call("eth_getBlockByNumber", ("0x4", False))], 2)
    for node in (1, 2):
        poll.hear(node, [said])
    with pytest.raises(NodeUnavailable, match="as a block"):
        poll.answers()


def test_silence_contradicts_nobody() -> None:
    poll = Poll(question(1, 1), 2)
    for node in (1, 2):
        poll.hear(node, honest(1, 1, 1))
    poll.hear(3, [None, REFUSED, None])
    assert poll.ballots[3].versions == (Silence.UNSEEN, Silence.REFUSED, Silence.UNSEEN)
    assert poll.contradicting() == {}


# ---------------------------------------------------------------------------- standing


def test_each_pause_is_longer_than_the_one_before_up_to_a_minute() -> None:
    standing, now, pauses = Standing(), 0.0, []
    for _ in range(9):
        assert standing.blame("logs", now)
        pauses.append(standing.until - now)
        now = standing.until
        standing.agreed(now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert not standing.blame("logs", now) or standing.until - now == LONGEST_PAUSE_S
    assert not standing.blame("block", now + 1)
    now = standing.until
    standing.agreed(now)
    assert standing.blame("logs", now + CALM_AFTER_S + 1)
    assert standing.until - now - CALM_AFTER_S - 1 == 1


def test_who_strays_for_moments_is_not_left_out() -> None:
    standing = Standing()
    assert not standing.strayed(0.0)
    assert not standing.strayed(29.0)
    standing.kept_up()
    assert not standing.strayed(40.0)
    assert standing.strayed(70.0)
    assert standing.blame("behind", 70.0)
    standing.agreed(71.0)
    assert not standing.is_trusted, "by its height alone"
    standing.kept_up()
    standing.agreed(72.0)
    assert standing.is_trusted
