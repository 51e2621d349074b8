"""Settings of what operators see of transactions, and can want of them."""

from pydantic import Field, SecretStr

from corechain_relayer.submitter.signer_settings import SignerSettings


class TransactionSettings(SignerSettings):
    """Part of the relayer's settings."""

    ops_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="token of the admin API at OPS_PORT, by which transactions are seen, bumped "
        "and cancelled, and queues paused; without it there is none",
    )
    low_balance_days: float = Field(
        3.0,
        gt=0,
        le=365,
        description="days that a key's balance has to last, at the pace of the last three, below "
        "which it is an alert",
    )
    stuck_after_s: float = Field(
        600.0,
        ge=1,
        le=86_400,
        description="age of the oldest transaction that is in no block at which it is an alert",
    )
