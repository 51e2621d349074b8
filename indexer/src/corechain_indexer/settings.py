"""Everything an operator can set: `INDEXER_*` in the environment, validated once, at start."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from corechain.service.settings import DatabaseUrl, NodeUrl, PrivateKey, RedisUrl, load

PREFIX = "INDEXER_"


class Settings(BaseSettings):
    """Settings of mirror and query API. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    rpc_url: NodeUrl
    deployment: Path
    database_url: DatabaseUrl
    redis_url: RedisUrl
    data_urls: str

    influx_url: NodeUrl | None = None
    influx_token: SecretStr = SecretStr("")
    influx_org: str = "corechain"
    influx_bucket: str = "corechain"

    confirmations: int = Field(64, ge=1, le=100_000)
    log_range_blocks: int = Field(2_000, ge=1, le=1_000_000)
    poll_s: float = Field(0.5, ge=0.02, le=60)
    rpc_timeout_s: float = Field(10.0, gt=0, le=120)
    fetch_timeout_s: float = Field(10.0, gt=0, le=600)
    max_file_bytes: int = Field(256 << 20, ge=1 << 10, le=4 << 30)
    retry_after_s: float = Field(2.0, ge=0.05, le=3_600)
    tree_cache_bytes: int = Field(256 << 20, ge=1 << 20, le=64 << 30)

    price_per_query: int = Field(0, ge=0, lt=1 << 128)
    payee_key: PrivateKey | None = None
    facilitator_url: NodeUrl | None = None

    http_host: str = "127.0.0.1"
    http_port: int = Field(8702, ge=0, le=65_535)
    max_connections: int = Field(16_384, ge=1, le=1 << 20)
    keep_alive_s: int = Field(75, ge=1, le=3_600)
    max_subscribers: int = Field(1_000, ge=1, le=100_000)
    log_level: str = Field("info", pattern=r"^(debug|info|warning|error)$")

    @field_validator("data_urls")
    @classmethod
    def _templates(cls, value: str) -> str:
        for template in filter(None, value.split(",")):
            if "{commitment}" not in template:
                raise ValueError("every template needs {commitment}")
            if not template.strip().startswith(("http://", "https://", "file://")):
                raise ValueError("every template starts with http://, https:// or file://")
        return value

    @property
    def data_templates(self) -> list[str]:
        """Where data files are looked for, in order."""
        return [template.strip() for template in self.data_urls.split(",") if template.strip()]


def load_settings() -> Settings:
    """The settings of this process. Raises InvalidSetting with one sentence, without any value."""
    return load(Settings)
