"""Settings of the chain's node, or nodes: the same for every process that follows or writes it."""

from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from corechain.service.settings import NodeUrls, ServiceSettings, urls_in


class NodeSettings(ServiceSettings):
    """Times in seconds."""

    rpc_url: NodeUrls = Field(
        description="JSON-RPC URLs of the chain's nodes, comma separated; one is enough"
    )
    rpc_timeout_s: float = Field(
        10.0, gt=0, le=120, description="time in which the node has to answer"
    )
    rpc_quorum: int | None = Field(
        None,
        ge=1,
        le=16,
        description="how many nodes must say the same before it is believed; else a majority",
    )
    rpc_max_lag_blocks: int = Field(
        32,
        ge=1,
        le=100_000,
        description="a node this far from the agreed head for 30 s is left out; of several nodes",
    )

    finality: Literal["tag", "depth"] = Field(
        "tag",
        description="tag: what the node calls `finalized`, and CONFIRMATIONS where it says that it "
        "knows no such tag; depth: CONFIRMATIONS alone, where nodes never name a final block",
    )

    @field_validator("rpc_quorum")
    @classmethod
    def _enough_nodes(cls, value: int | None, info: ValidationInfo) -> int | None:
        nodes = urls_in(info.data.get("rpc_url", SecretStr("")))
        if value is not None and value > len(nodes) > 0:
            raise ValueError("is more than RPC_URL has nodes")
        return value

    @property
    def node_urls(self) -> list[str]:
        """The nodes, in order."""
        return self.named_urls("rpc_url")

    @property
    def quorum(self) -> int:
        """How many of them must agree."""
        return self.rpc_quorum or len(self.node_urls) // 2 + 1
