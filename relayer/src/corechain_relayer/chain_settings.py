"""Settings of how transactions are sent, which follow from the chain unless an operator sets them.

`on_chain` fills in what nobody set.
"""

from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from corechain.service.settings import NodeUrls, ServiceSettings, urls_in
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
        None, ge=1, le=MAX_WEI, description="the same for a guard's answers and challenges"
    )
    watchtower_budget_a_day: int | None = Field(
        None, ge=1, le=MAX_WEI, description="the same for a watchtower's answers"
    )

    more_rpc_urls: NodeUrls | None = Field(
        None,
        description="more nodes of the chain, comma separated, for submitters: they believe what "
        "enough of all say, leave out one that lies or lags, and send to each",
    )
    rpc_quorum: int | None = Field(
        None,
        ge=1,
        le=16,
        description="how many nodes must say the same before a submitter believes it, with "
        "MORE_RPC_URLS; else a majority",
    )
    rpc_max_lag_blocks: int = Field(
        32,
        ge=1,
        le=100_000,
        description="blocks that a node may be away from the agreed head before it is left out",
    )

    @model_validator(mode="after")
    def _enough_nodes(self) -> Self:
        nodes = 1 + (0 if self.more_rpc_urls is None else len(urls_in(self.more_rpc_urls)))
        if self.rpc_quorum is not None and self.rpc_quorum > nodes:
            raise ValueError("RPC_QUORUM is more than RPC_URL and MORE_RPC_URLS have nodes")
        return self

    @property
    def rules(self) -> ChainRules:
        return RULES["ethereum" if self.chain_rules == "auto" else self.chain_rules]


S = TypeVar("S", bound=ChainSettings)


def on_chain(settings: S, chain_id: int) -> S:
    """The settings of a process on a chain: what an operator did not set is as the chain's rules
    have it."""
    name = chain_name(chain_id) if settings.chain_rules == "auto" else settings.chain_rules
    rules = RULES[name]
    unset = [field for field in BY_CHAIN if field not in settings.model_fields_set]
    changes = {field: getattr(rules, field) for field in unset}
    return settings.model_copy(update={**changes, "chain_rules": name})
