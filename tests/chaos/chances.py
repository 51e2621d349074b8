"""What may happen in a story of the simulator, and how likely it is beside the others."""

from collections.abc import Callable
from typing import Any

NODE_FAULTS: tuple[Callable[[float, int, float], dict[str, Any]], ...] = (
    lambda part, number, now: {"down_until": now + (3600 if number > 9 else 40)},
    lambda part, number, now: {"flaky": part / 2},
    lambda part, number, now: {"late": 0.3 + part},
    lambda part, number, now: {"late": 0.3 + part},
    lambda part, number, now: {"lagging": number},
    lambda part, number, now: {"lagging": number},
    lambda part, number, now: {"split": True},
    lambda part, number, now: {"blind": 0.4},
    lambda part, number, now: {"swallowing": 0.6},
    lambda part, number, now: {"refusal": "oversized data: transaction size 9, limit 8"},
    lambda part, number, now: {"refusal": "intrinsic gas too low"},
    lambda part, number, now: {"refusal": "tx fee (1.2 ether) exceeds the configured cap"},
    lambda part, number, now: {"broke": True},
)
WEIGHTED = {
    "seal": 16,
    "grow": 10,
    "fees_move": 8,
    "reorg": 16,
    "fork_returns": 4,
    "foreign_nonce": 4,
    "done_by_others": 2,
    "pool_is_lost": 4,
    "contract_pauses": 3,
    "chain_stalls": 2,
    "nodes_fail": 14,
    "nodes_recover": 6,
    "dies": 14,
    "store_fails": 6,
    "is_taken_over": 5,
    "restarts_with_other_fees": 2,
    "clock_jumps": 2,
    "stops_well": 2,
    "operator_bumps": 3,
    "operator_cancels": 6,
    "operator_pauses": 3,
    "budget_changes": 3,
    "journal_is_lost": 1,
    "owner_registers_again": 4,
}
DUTIES = {
    "somebody_acts": 20,
    "somebody_else_answers": 5,
    "something_is_left": 10,
    "grow": 4,
    "fees_move": 8,
    "reorg": 14,
    "fork_returns": 4,
    "foreign_nonce": 3,
    "pool_is_lost": 6,
    "chain_stalls": 2,
    "nodes_fail": 14,
    "nodes_recover": 6,
    "dies": 14,
    "store_fails": 6,
    "is_taken_over": 4,
    "clock_jumps": 2,
    "stops_well": 2,
    "is_down_for_long": 6,
    "operator_bumps": 2,
    "operator_pauses": 2,
    "journal_is_lost": 1,
}
"""Of the roles that answer in time. `somebody_acts`: a stale close, a demand; `something_is_left`:
a newer state, or a data file that comes and goes."""
CHALLENGES = DUTIES | {"private_rpc_changes": 6}
"""Of the challenger: half of them send by a private RPC."""
REWARDS = DUTIES | {
    "somebody_acts": 26,
    "somebody_else_answers": 8,
    "reorg": 18,
    "fork_returns": 10,
}
"""Of the reward guard: roots that come again are what it is about."""


def chances(weights: dict[str, int]) -> tuple[list[str], list[int]]:
    """As `random.choices` takes them."""
    return list(weights), list(weights.values())
