"""Who was refused comes again: later than at once, not all in one second, and when he is told to.

given a server that is busy, and says when to come again (Retry-After, RFC 9110)
  ├── a number of seconds and a date are both read, the date by the server's own clock
  ├── what is absurd is bounded; what is none is as if nothing was said
  └── it is left alone for that long, and a minute at most
"""

import json
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from email.utils import formatdate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.processes import until
from support.scripted import answer, scripted

from corechain.held import LONGEST_HELD_S, Held
from corechain.http import LONGEST_ASKED_S, put_off_s, retry_after_s
from corechain.service.errors import NodeBusy, NodeUnavailable
from corechain.service.quorum import Quorum
from corechain.service.retry import LONGEST_RETRY_S, spread_s
from corechain.service.rpc import Call, Rpc

BEGAN = "Thu, 01 Jan 1970 00:00:10 GMT"


@given(st.floats(0, 1_000))
def test_the_wait_is_whole_seconds_between_once_and_twice_what_is_needed(seconds: float) -> None:
    found = spread_s(seconds)
    assert 1 <= found <= LONGEST_RETRY_S
    assert min(seconds, LONGEST_RETRY_S) <= found <= 2 * max(1.0, seconds) + 1


def test_a_storm_is_spread() -> None:
    assert len({spread_s(20.0) for _ in range(1_000)}) > 15


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("120", 120),
        (" 7 ", 7),
        ("-5", None),
        ("٣", None),
        ("9" * 400, LONGEST_ASKED_S),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_ASKED_S),
        ("Thu, 01 Jan 99999999999 00:00:01 GMT", None),
    ],
)
def test_a_pause_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": text, "date": BEGAN}) == seconds


def test_a_server_that_does_not_say_the_time_has_ours() -> None:
    found = retry_after_s({"retry-after": formatdate(time.time() + 3_000, usegmt=True)})
    assert found is not None
    assert 0 < found <= 3_000


WORDS = st.lists(
    st.sampled_from(["Thu,", "1", "Jan", "1970", "24:61:00", "-9999", "GMT", ",", ":", "é"])
).map(" ".join)


@settings(max_examples=100)
@given(WORDS | st.text(max_size=9), WORDS, st.sampled_from([200, 429, 503]))
@example(" ", ",", 429)
def test_whatever_a_server_says_the_wait_is_bounded(text: str, date: str, status: int) -> None:
    found = put_off_s(status, {"retry-after": text, "date": date})
    assert 0.0 <= found <= LONGEST_ASKED_S
    assert not found or status in (429, 503)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, LONGEST_ASKED_S)), max_size=8))
def test_nobody_is_left_alone_for_longer_than_a_minute(turns: list[tuple[float, float]]) -> None:
    now, until = 0.0, 0.0
    held = Held(lambda: now)
    for passed, asked in turns:
        now += passed
        assert held.begin(asked) == min(LONGEST_HELD_S, asked)
        until = max(until, now + min(LONGEST_HELD_S, asked))
        assert held.left_s() == max(0.0, until - now)


@pytest.mark.parametrize(
    ("status", "asked", "held_s"),
    [
        (429, {"retry_after": "30"}, 30),
        (503, {"retry_after": "30"}, 30),
        (429, {"retry_after": "9" * 50}, 60),
        (429, {"retry_after": "Thu, 01 Jan 1970 00:00:40 GMT", "date": BEGAN}, 30),
        (429, {"retry_after": "soon"}, 0),
        (503, {}, 0),
        (500, {"retry_after": "30"}, 0),
    ],
)
async def test_a_busy_node_is_left_alone_for_as_long_as_it_asks_and_no_longer(
    status: int, asked: dict[str, str], held_s: int
) -> None:
    now = [0.0]

    def first_busy(number: int, request: bytes) -> bytes:
        return (
            answer(200, {"id": json.loads(request)["id"], "result": "0x7a69"})
            if number
            else answer(status, {}, **asked)
        )

    async with scripted(first_busy) as server:
        rpc = Rpc(server.url, 5.0, lambda: now[0])
        with pytest.raises(NodeUnavailable):
            await rpc.chain_id()
        if held_s:
            now[0] = held_s - 1.0
            for ask in (rpc.chain_id, rpc.head, lambda: rpc.call_all([Call("eth_chainId")])):
                with pytest.raises(NodeBusy, match="left alone for 1 s"):
                    await ask()
            assert rpc.warnings() == ["the node asks to be left alone for 1 s more"]
        assert len(server.bodies) == 1
        now[0] = held_s
        assert await rpc.chain_id() == 31337
        assert rpc.warnings() == []
        await rpc.close()


BLOCK = {
    "number": "0x10",
    "hash": "0x" + "11" * 32,
    "parentHash": "0x" + "22" * 32,
    "timestamp": "0x5",
}


def good(request: bytes) -> bytes:
    """As an honest node, of one question."""
    return answer(200, {"id": json.loads(request)["id"], "result": BLOCK})


async def test_a_busy_one_of_several_nodes_is_left_alone_for_as_long_as_it_asks() -> None:
    now, blamed, is_busy = [0.0], list[tuple[int, str]](), [True]

    def busy(number: int, request: bytes) -> bytes:
        return answer(503, {}, retry_after="40") if is_busy[0] else good(request)

    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(scripted(script))
            for script in (lambda number, request: good(request), busy)
        ]
        urls = [servers[place].url for place in (0, 0, 1)]
        rpc = Quorum(urls, 2, 5.0, 4, lambda *what: blamed.append(what), lambda: now[0])
        stack.push_async_callback(rpc.close)

        async def head(passed_s: float) -> list[str]:
            now[0] += passed_s
            rpc.stir()
            assert (await rpc.head()).number == 16
            return rpc.warnings()

        await until(lambda: _is_so(head(0.0), ["node 3 of 3 is left out: busy"]))
        for _ in range(13):
            await head(3.0)
        assert (len(servers[1].bodies), blamed) == (1, [(3, "busy")])
        is_busy[0] = False
        await until(lambda: _is_so(head(3.0), []))


async def _is_so(said: Awaitable[list[str]], expected: list[str]) -> bool:
    return await said == expected
