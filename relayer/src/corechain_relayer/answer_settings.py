"""Settings of those who answer in time: the guard of a lane and the watchtower of channels."""

from pydantic import Field

from corechain.service.settings import PrivateKey, ServiceSettings


class AnswerSettings(ServiceSettings):
    """Each has a key, and so a nonce sequence, of its own: a batch never waits before an answer."""

    watchtower_key: PrivateKey | None = Field(
        None, description="private key that answers stale closes; without it there is no watchtower"
    )
    guard_key: PrivateKey | None = Field(
        None, description="private key that answers demands; without it there is no guard"
    )
    answers_in_flight: int = Field(
        64,
        ge=1,
        le=256,
        description="answers to demands or stale closes that may wait for a block at a time, of "
        "one key; a node whose pool is full keeps 16 of them",
    )
    watchtower_stagger_s: float = Field(
        0.0,
        ge=0,
        le=3_600,
        description="towers that hold the same states divide over so many seconds, so that one "
        "answers and the others see it",
    )
    urgent_max_fee_per_gas: int = Field(
        10_000_000_000_000,
        ge=1,
        le=10**15,
        description="cap of answers to demands and challenges when half of their time is over",
    )
