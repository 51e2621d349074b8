"""Everything an operator can set: `RELAYER_*` in the environment, validated once, at start."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from corechain.service.settings import DatabaseUrl, NodeUrl, PrivateKey, RedisUrl, load

PREFIX = "RELAYER_"
CENTURY_S = 100 * 366 * 86_400
MAX_FUTURE_S = 1_800
"""An observation an hour after its device's revocation costs the bond: a device that dates ahead
and is then revoked must not get there, also when the relayer sees the revocation late."""


class Settings(BaseSettings):
    """Settings of every role. Times in seconds, sizes in bytes, fees in wei per gas."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    rpc_url: NodeUrl
    deployment: Path
    bus_url: RedisUrl
    database_url: DatabaseUrl
    data_dir: Path
    lane: int = Field(0, ge=0, le=0xFFFF)

    submitter_key: PrivateKey | None = None
    proposer_key: PrivateKey | None = None
    watchtower_key: PrivateKey | None = None

    max_readings: int = Field(16_384, ge=1, le=1 << 20)
    max_age_s: float = Field(10.0, gt=0, le=86_400)
    max_report_age_s: int = Field(7 * 86_400, ge=1, le=CENTURY_S)
    max_report_future_s: int = Field(300, ge=0, le=MAX_FUTURE_S)

    http_host: str = "127.0.0.1"
    http_port: int = Field(8701, ge=0, le=65_535)
    max_body_bytes: int = Field(4 << 20, ge=1 << 10, le=64 << 20)
    body_timeout_s: float = Field(30.0, gt=0, le=600)
    max_connections: int = Field(16_384, ge=1, le=1 << 20)
    keep_alive_s: int = Field(75, ge=1, le=3_600)

    bus_max_frames: int = Field(100_000, ge=1, le=10_000_000)
    trust_bus: bool = False
    bus_stream: str = Field("corechain:frames", pattern=r"^[\w:.{}-]{1,100}$")

    poll_s: float = Field(0.5, ge=0.05, le=60)
    rpc_timeout_s: float = Field(10.0, gt=0, le=120)
    log_range_blocks: int = Field(10_000, ge=1, le=1_000_000)
    confirmations: int = Field(64, ge=1, le=100_000)

    resend_after_s: float = Field(15.0, gt=0, le=3_600)
    refused_pause_s: float = Field(5.0, gt=0, le=3_600)
    bump_after_s: float = Field(60.0, gt=0, le=86_400)
    max_fee_per_gas: int = Field(1_000_000_000_000, ge=1, le=10**15)
    min_priority_fee: int = Field(0, ge=0, le=10**13)
    log_level: str = Field("info", pattern=r"^(debug|info|warning|error)$")


def load_settings() -> Settings:
    """The settings of this process. Raises InvalidSetting with one sentence, without any value."""
    return load(Settings)
