"""Settings of how transactions are sent, which follow from the chain unless an operator sets them.

`on_chain` fills in what nobody set.
"""

from typing import Literal, TypeVar

from pydantic import Field

from corechain.service.settings import ServiceSettings
from corechain_relayer.submitter.chains import RULES, ChainName, ChainRules, chain_name

MAX_WEI = 10**30
"""A budget above it is a slip: there are 10^26 wei."""
BY_CHAIN = ("confirmations", "nonces_in_flight", "min_priority_fee")
"""Settings whose default is the chain's."""


class ChainSettings(ServiceSettings):
    """Fees in wei."""

    chain_rules: Literal["auto"] | ChainName = Field(
        "auto",
        description="whose rules the chain follows: anvil, ethereum, arbitrum, polygon or optimism "
        "(every OP stack); by default by its chain id, ethereum where that is not known",
    )
    lane_budget_a_day: int | None = Field(
        None,
        ge=1,
        le=MAX_WEI,
        description="wei that a lane's transactions may cost in 24 hours, what they pay to L1 "
        "included; at the limit nothing more is signed. By default there is no limit",
    )
    guard_budget_a_day: int | None = Field(
        None, ge=1, le=MAX_WEI, description="the same for a guard's answers"
    )
    watchtower_budget_a_day: int | None = Field(
        None, ge=1, le=MAX_WEI, description="the same for a watchtower's answers"
    )
    challenger_budget_a_day: int | None = Field(
        None,
        ge=1,
        le=MAX_WEI,
        description="the same for a challenger's challenges and demands, without what those stake "
        "in CORE; vetoes of reward roots have one of the same size",
    )

    rpc_few_after_s: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="when fewer nodes than must agree have answered for so long, guard, "
        "watchtower and challenger go by those who do; a fourth of the shortest window at most; 0: "
        "they wait",
    )

    @property
    def rules(self) -> ChainRules:
        return RULES["ethereum" if self.chain_rules == "auto" else self.chain_rules]


S = TypeVar("S", bound=ChainSettings)


def on_chain(settings: S, chain_id: int) -> S:
    """The settings of a process on a chain: what an operator did not set is as the chain's rules
    have it."""
    name = chain_name(chain_id) if settings.chain_rules == "auto" else settings.chain_rules
    rules = RULES[name]
    known = [field for field in BY_CHAIN if field in type(settings).model_fields]
    unset = [field for field in known if field not in settings.model_fields_set]
    changes = {field: getattr(rules, field) for field in unset}
    return settings.model_copy(update={**changes, "chain_rules": name})
