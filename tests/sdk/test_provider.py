"""The imitated provider of tests/support/provider.py does what it says, before a real node."""

import httpx
import pytest
from support.processes import PATIENCE_S
from support.provider import LEGACY, POLYGON, Habits, provider


def ask(url, method, *params):
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(url, json=call, trust_env=False, timeout=PATIENCE_S)


def result(url, method, *params):
    return ask(url, method, *params).json()["result"]


def test_blocks_have_the_extra_data_of_polygon(anvil):
    with provider(anvil, POLYGON) as hosted:
        block = result(hosted.url, "eth_getBlockByNumber", "latest", False)
        assert len(block["extraData"]) == 2 + 2 * 97
        assert hosted.asked("eth_getBlockByNumber") == [["latest", False]]


def test_a_legacy_chain_names_no_base_fee(anvil):
    with provider(anvil, LEGACY) as hosted:
        assert "baseFeePerGas" not in result(hosted.url, "eth_getBlockByNumber", "latest", False)
        assert ask(hosted.url, "eth_maxPriorityFeePerGas").json()["error"]["code"] == -32601
        assert int(result(hosted.url, "eth_gasPrice"), 16) > 0


@pytest.mark.parametrize("refusal", [(200, {"code": -32005, "message": "too wide"}), (413, None)])
def test_a_range_that_is_too_wide_is_refused(anvil, refusal):
    habits = Habits(max_range_blocks=5, refusal=refusal)
    with provider(anvil, habits) as hosted:
        fits = {"fromBlock": "0x0", "toBlock": "0x4"}
        assert result(hosted.url, "eth_getLogs", fits) == result(anvil, "eth_getLogs", fits)
        refused = ask(hosted.url, "eth_getLogs", fits | {"toBlock": "0x5"})
        assert refused.status_code == refusal[0]
        assert refusal[1] is None or refused.json()["error"] == refusal[1]


def test_a_batch_is_answered_call_by_call_up_to_its_limit(anvil):
    with provider(anvil, Habits(max_batch=2)) as hosted:
        call = {"jsonrpc": "2.0", "method": "eth_chainId", "params": []}
        two = httpx.post(
            hosted.url, json=[call | {"id": n} for n in (7, 8)], trust_env=False, timeout=PATIENCE_S
        )
        assert [(a["id"], a["result"]) for a in two.json()] == [(7, "0x7a69"), (8, "0x7a69")]
        three = httpx.post(
            hosted.url,
            json=[call | {"id": n} for n in range(3)],
            trust_env=False,
            timeout=PATIENCE_S,
        )
        assert three.status_code == 413


def test_a_busy_provider_says_when_to_come_back(anvil):
    with provider(anvil, Habits(busy=1)) as hosted:
        busy = ask(hosted.url, "eth_chainId")
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
        assert result(hosted.url, "eth_chainId") == "0x7a69"
