"""The one table that reads what nodes say, against their own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sdk.node_words import SAID

from corechain.rpc_errors import RpcFailure, classify_rpc_failure

EACH = [(kind, who, words) for kind, said in SAID.items() for who, words in said]


@pytest.mark.parametrize(("kind", "who", "words"), EACH, ids=[f"{w}: {s}" for _, w, s in EACH])
def test_the_words_of_each_node_mean_what_it_means_by_them(
    kind: RpcFailure, who: str, words: str
) -> None:
    assert classify_rpc_failure(words) is kind, who
    # Libraries and proxies put words of their own around a node's.
    wrapped = f"server returned an error response: error code -32000: {words}"
    assert classify_rpc_failure(wrapped) is kind, who


def test_every_meaning_has_words_of_a_node() -> None:
    assert set(SAID) == set(RpcFailure)


def test_what_a_contract_says_is_not_taken_for_a_nodes_own_words() -> None:
    for said in SAID.values():
        for _, words in said:
            found = classify_rpc_failure(f"execution reverted: {words}")
            assert found is RpcFailure.REVERTED


@given(st.text())
def test_any_words_are_classified(text: str) -> None:
    assert isinstance(classify_rpc_failure(text), RpcFailure)
