"""The parts of the relayer's settings that a command may need without the rest."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from corechain.service.node_settings import NodeSettings
from corechain.service.settings import DatabaseUrl, InvalidSetting, PrivateKey, ServiceSettings
from corechain_relayer.chain_settings import ChainSettings
from corechain_relayer.local import PREFIX
from corechain_relayer.submitter.settings import SendingSettings
from corechain_relayer.submitter.signer_settings import SignerSettings


class JournalSettings(ServiceSettings):
    """Where the journal is, and of which contracts: all that looking into it needs."""

    ENV_PREFIX: ClassVar = PREFIX

    deployment: Path = Field(description="manifest of the contracts, `deployments/<chain id>.json`")
    database_url: DatabaseUrl = Field(description="Postgres with the journal")
    database_direct_url: DatabaseUrl | None = Field(
        None,
        description="the same database without its pooler, where DATABASE_URL is a PgBouncer in "
        "transaction mode: for locks and migrations, which need a session",
    )
    log_level: str = Field(
        "info", pattern=r"^(debug|info|warning|error)$", description="debug, info, warning or error"
    )

    @property
    def session_url(self) -> str:
        """Where a connection is a session of Postgres, which holds locks."""
        return self.named_url("database_direct_url", "database_url")


class StoredSettings(JournalSettings):
    """Where a relayer keeps what it has: all that taking and restoring a backup needs."""

    data_dir: Path = Field(description="folder of the data files, `<commitment>.ccdf`")

    def make_data_dir(self) -> None:
        """Raises InvalidSetting."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSetting(f"{PREFIX}DATA_DIR cannot be made: {error.strerror}") from None


class OperatorSettings(JournalSettings, NodeSettings):
    """All that `corechain tx` and `rotate-key` need: journal, node, and the admin's key if any."""

    admin_key: PrivateKey | None = Field(
        None, description="private key of the contracts' admin; needed by `rotate-key` alone"
    )


class DemandsSettings(StoredSettings, NodeSettings, ChainSettings):
    """All that looking at the demands of a lane needs: no key and no bus."""

    lane: int = Field(
        0, ge=0, le=0xFFFF, description="the lane that this process aggregates and submits"
    )
    poll_s: float = Field(0.5, ge=0.05, le=60, description="pause between two looks at the chain")
    log_range_blocks: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="most blocks in one eth_getLogs call; fewer where logs are dense, or refused",
    )
    confirmations: int = Field(
        64,
        ge=1,
        le=100_000,
        description="depth at which a block is final where the node says it has no `finalized`; by "
        "default 64, on Arbitrum 5,000, on Polygon 512, on an OP stack 600",
    )


class ProposerSettings(DemandsSettings, SendingSettings, SignerSettings):
    """All that proposing rewards needs."""

    proposer_key: PrivateKey | None = Field(
        None, description="private key that proposes reward roots; needed by `propose-rewards`"
    )


class FilesSettings(ServiceSettings):
    """All that checking a backup may need."""

    ENV_PREFIX: ClassVar = PREFIX

    data_dir: Path | None = Field(None, description="folder of the data files")
