"""Settings of how every queue of transactions is sent, part of the relayer's."""

from pydantic import Field

from corechain.service.settings import ServiceSettings

CENTURY_S = 100 * 366 * 86_400


class SendingSettings(ServiceSettings):
    """Times in seconds, fees in wei per gas."""

    nonces_in_flight: int = Field(
        16,
        ge=1,
        le=64,
        description="transactions of a lane that may wait for a block at a time; nodes keep 16 "
        "of a sender for sure",
    )
    resend_after_s: float = Field(
        15.0,
        gt=0,
        le=3_600,
        description="a transaction not seen in a block is sent again after so long",
    )
    refused_pause_s: float = Field(
        5.0,
        gt=0,
        le=3_600,
        description="pause after a refusal that only time or an operator can cure",
    )
    intent_retention_s: float = Field(
        7 * 86_400.0,
        ge=0,
        le=CENTURY_S,
        description="intents of a lane and their signed transactions are dropped when they have "
        "been final for so long; `/v1/batches` keeps what came of them",
    )
    bump_after_s: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="a transaction not seen in a block is replaced at a higher fee after so long",
    )
    max_fee_per_gas: int = Field(
        1_000_000_000_000, ge=1, le=10**15, description="cap of the fee, wei per gas"
    )
    min_priority_fee: int = Field(
        0,
        ge=0,
        le=10**13,
        description="least priority fee, wei per gas; by default 30 gwei on Polygon, whose nodes "
        "demand one",
    )
