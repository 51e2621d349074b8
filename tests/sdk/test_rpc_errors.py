"""The one table that reads what nodes say, against their own words."""

from hypothesis import given
from hypothesis import strategies as st
from sdk.node_words import SAID

from corechain.rpc_errors import RpcFailure, classify_rpc_failure

EACH = [(kind, who, words) for kind, said in SAID.items() for who, words in said]


def test_the_words_of_each_node_mean_what_it_means_by_them() -> None:
    taken = [(kind, who, words, classify_rpc_failure(words)) for kind, who, words in EACH]
    assert [each for each in taken if each[0] is not each[3]] == []
    # Libraries and proxies put words of their own around a node's.
    around = "server returned an error response: error code -32000: "
    taken = [(kind, who, words, classify_rpc_failure(around + words)) for kind, who, words in EACH]
    assert [each for each in taken if each[0] is not each[3]] == []


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
