"""Settings of whoever challenges frauds, part of the relayer's."""

from pydantic import Field, field_validator

from corechain.service.settings import NodeUrl, PrivateKey, ServiceSettings, listed


class ChallengingSettings(ServiceSettings):
    """Times in seconds, sizes in bytes, the stake in base units of CORE."""

    challenger_key: PrivateKey | None = Field(
        None, description="private key that challenges frauds; needed by `corechain challenger`"
    )
    challenger_data_urls: str = Field(
        "",
        description="where the data files of all lanes are, comma separated, for `corechain "
        "challenger`: `http(s)://…{commitment}`, `file://…{commitment}.ccdf`",
    )
    challenger_rpc_url: NodeUrl | None = Field(
        None,
        description="private RPC that gets the challenger's transactions, and nobody else does "
        "until the last quarter of a window: seen in the mempool, evidence can be copied",
    )
    challenger_patience_s: float = Field(
        3_600.0,
        ge=0,
        le=30 * 86_400,
        description="age at which a batch whose data file nobody has is demanded from its "
        "submitter; each demand costs its fee when it is answered",
    )
    challenger_stake: int = Field(
        100 * 10**18,
        ge=0,
        le=10**30,
        description="base units of CORE that all demands of the challenger together may cost",
    )
    challenger_expire_others_after_s: float = Field(
        0.0,
        ge=0,
        le=31_536_000,
        description="so long after its deadline the challenger expires an unanswered demand of "
        "somebody else, who gets half of the bond; it costs gas and brings nothing; 0: never",
    )
    challenger_demands: int = Field(
        8, ge=1, le=64, description="demands of one batch that the challenger makes at a time"
    )
    challenger_max_file_bytes: int = Field(
        256 << 20, ge=1 << 10, le=4 << 30, description="largest data file that it reads"
    )
    guardian_key: PrivateKey | None = Field(
        None,
        description="private key of CoreToken's guardian: the challenger vetoes wrong reward roots",
    )

    @field_validator("challenger_data_urls")
    @classmethod
    def _templates(cls, value: str) -> str:
        for template in listed(value):
            if "{commitment}" not in template:
                raise ValueError("every template needs {commitment}")
            if not template.startswith(("http://", "https://", "file://")):
                raise ValueError("every template starts with http://, https:// or file://")
        return value
