"""The logs of an answer, many together, are those that each of them would be alone.

given an answer to eth_getLogs
  ├── read at once, natively and in pure Python, it gives the logs of the reference
  └── with whatever wrong in it, it is an outage for all of them, or for none
"""

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sent_logs import (
    CONTRACTS,
    FIRST,
    LAST,
    answer,
    bent,
    body_of,
    by_parser,
    by_reference,
    by_table,
    outcome,
)

from corechain.service.errors import NodeUnavailable
from corechain.service.log_table import read_logs


@given(st.randoms(use_true_random=False), st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_a_good_answer_is_read_alike_by_all(random: Random, count: int) -> None:
    body = body_of(random, answer(random, count))
    expected = outcome(by_reference, body)
    assert len(expected) == count
    assert outcome(by_parser, body) == outcome(by_table, body) == expected


@given(st.randoms(use_true_random=False), st.integers(0, 5))
@settings(max_examples=400, deadline=None)
def test_a_bent_answer_is_read_alike_by_all(random: Random, count: int) -> None:
    body = bent(random, answer(random, count))
    expected = outcome(by_reference, body)
    assert outcome(by_parser, body) == expected
    assert outcome(by_table, body) == expected


@pytest.mark.parametrize(
    "body", [b"null", b"{}", b"[[]]", b"[{}]", b"[1", b'["\xff"]', b"[" * 5000]
)
def test_what_is_no_list_of_logs_is_an_outage(body: bytes) -> None:
    with pytest.raises(NodeUnavailable):
        read_logs(msgspec.Raw(body), CONTRACTS, FIRST, LAST)


def test_a_range_is_read_as_a_sequence() -> None:
    body = body_of(Random(3), answer(Random(3), 9))
    logs = read_logs(msgspec.Raw(body), CONTRACTS, FIRST, LAST)
    assert len(logs) == 9
    assert list(reversed(logs)) == list(logs)[::-1]
    assert (logs[-1], list(logs[2:5])) == (list(logs)[-1], list(logs)[2:5])
    with pytest.raises(IndexError):
        logs[9]
