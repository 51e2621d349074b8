"""How long a node's answer to a call may be. Nobody reads on beyond it.

Limits are several times what an honest node can send, so that they bound memory and refuse nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

_KIB, _MIB = 1 << 10, 1 << 20
WORD_BYTES = 64 * _KIB
"""A number or a hash; a refusal instead of it may carry revert data and a node's long sentence."""
OBJECT_BYTES = 4 * _MIB
"""A transaction has at most 128 KiB of data (geth's pool), code 24 KiB (EIP-170); a receipt's logs
and what a view returns may be longer. Also a method that is not listed."""
BLOCK_BYTES = 4 * _MIB
"""A header with the hashes of its transactions, 69 bytes each: 60,000 of them."""
WHOLE_BLOCK_BYTES = 32 * _MIB
"""The same with the transactions."""
LOGS_BYTES = 64 * _MIB
"""The largest honest range is 30 MB; over this one a smaller range is asked for."""
_WORDS = frozenset(
    (
        "eth_chainId",
        "eth_blockNumber",
        "eth_gasPrice",
        "eth_maxPriorityFeePerGas",
        "eth_estimateGas",
        "eth_getBalance",
        "eth_getTransactionCount",
        "eth_sendRawTransaction",
    )
)
_BLOCKS = frozenset(("eth_getBlockByNumber", "eth_getBlockByHash"))
LOGS_METHOD = "eth_getLogs"


def longest_answer(method: str, params: Sequence[Any] = ()) -> int:
    """Bytes, decompressed."""
    if method in _WORDS:
        return WORD_BYTES
    if method == LOGS_METHOD:
        return LOGS_BYTES
    if method in _BLOCKS:
        # eth_getBlockBy…(which, whether with whole transactions)
        return WHOLE_BLOCK_BYTES if len(params) > 1 and params[1] is True else BLOCK_BYTES
    return OBJECT_BYTES


def longest_batch(calls: Iterable[tuple[str, Sequence[Any]]]) -> int:
    """Bytes for (method, parameters) in one request: together no more than logs may have alone."""
    return min(LOGS_BYTES, sum(longest_answer(method, params) for method, params in calls))
