"""Everything an operator can set: `RELAYER_*` in the environment, validated once, at start."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from corechain.protocol.errors import CoreChainError

PREFIX = "RELAYER_"
CENTURY_S = 100 * 366 * 86_400


class InvalidSetting(CoreChainError):
    """A setting is missing, unknown or out of its range."""


def _private_key(value: SecretStr) -> SecretStr:
    try:
        secret = bytes.fromhex(value.get_secret_value().removeprefix("0x"))
    except ValueError:
        raise ValueError("is not a private key in hexadecimal") from None
    if len(secret) != 32 or not any(secret):
        raise ValueError("is not a private key of 32 bytes")
    return value


def _scheme(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"is not a URL that starts with {' or '.join(schemes)}://")
        return value

    return AfterValidator(check)


# URLs are secrets too: they carry passwords and provider tokens.
PrivateKey = Annotated[SecretStr, AfterValidator(_private_key)]
NodeUrl = Annotated[SecretStr, _scheme("http", "https")]
BusUrl = Annotated[SecretStr, _scheme("redis", "rediss")]
DatabaseUrl = Annotated[SecretStr, _scheme("postgresql", "postgres")]


class Settings(BaseSettings):
    """Settings of every role. Times in seconds, sizes in bytes, fees in wei per gas."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    rpc_url: NodeUrl
    deployment: Path
    bus_url: BusUrl
    database_url: DatabaseUrl
    data_dir: Path
    lane: int = Field(0, ge=0, le=0xFFFF)

    submitter_key: PrivateKey | None = None
    proposer_key: PrivateKey | None = None
    watchtower_key: PrivateKey | None = None

    max_readings: int = Field(16_384, ge=1, le=1 << 20)
    max_age_s: float = Field(10.0, gt=0, le=86_400)
    max_report_age_s: int = Field(7 * 86_400, ge=1, le=CENTURY_S)
    max_report_future_s: int = Field(300, ge=0, le=CENTURY_S)

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
    bump_after_s: float = Field(60.0, gt=0, le=86_400)
    max_fee_per_gas: int = Field(1_000_000_000_000, ge=1, le=10**15)
    min_priority_fee: int = Field(0, ge=0, le=10**13)
    log_level: str = Field("info", pattern=r"^(debug|info|warning|error)$")


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = PREFIX + str(first["loc"][0]).upper() if first["loc"] else PREFIX
    if first["type"] == "missing":
        return f"{name} is not set"
    message = first["msg"].removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}"


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in environment:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            raise InvalidSetting(f"{name} is not a setting of the relayer")


def load_settings() -> Settings:
    """The settings of this process. Raises InvalidSetting with one sentence, without any value."""
    _refuse_unknown(os.environ)
    try:
        return Settings()  # type: ignore[call-arg]  # filled from the environment
    except ValidationError as error:
        raise InvalidSetting(_sentence(error)) from None
