"""What a node's refusals mean. The one place where a node's words are read."""

import re
from enum import Enum


class RpcFailure(Enum):
    """What a node's refusal of a call means for its sender."""

    ALREADY_KNOWN = "already known"
    NONCE_TOO_LOW = "nonce too low"
    NONCE_TOO_HIGH = "nonce too high"
    UNDERPRICED = "underpriced"
    INSUFFICIENT_FUNDS = "insufficient funds"
    REVERTED = "reverted"
    RATE_LIMITED = "rate limited"
    FATAL = "fatal"
    UNKNOWN = "unknown"


# "execution reverted" comes first: behind it stand a contract's words, and it may say anything.
# Wordings of geth, Nitro, Bor, Erigon, Nethermind, anvil and of hosted providers. Order matters:
# "unknown transaction" is not "known transaction", and a replacement can be underpriced without
# being too low.
_FAILURES: tuple[tuple[RpcFailure, re.Pattern[str]], ...] = (
    (RpcFailure.REVERTED, re.compile(r"execution reverted|transaction reverted|: revert\b")),
    (
        RpcFailure.ALREADY_KNOWN,
        re.compile(
            r"already known|\bknown transaction|already imported|already exists|alreadyknown"
        ),
    ),
    (RpcFailure.NONCE_TOO_LOW, re.compile(r"nonce too low|nonce is too low|oldnonce")),
    (RpcFailure.NONCE_TOO_HIGH, re.compile(r"nonce too high|nonce gap|noncegap")),
    (RpcFailure.UNDERPRICED, re.compile(r"underpriced|fee too low|less than block base fee")),
    (
        RpcFailure.INSUFFICIENT_FUNDS,
        # geth's last: the gas that the sender's balance pays for does not do.
        re.compile(r"insufficient funds|insufficient balance|gas required exceeds allowance"),
    ),
    (
        RpcFailure.RATE_LIMITED,
        re.compile(
            r"rate.?limit|too many requests|compute units per second|capacity exceeded"
            r"|request limit reached|daily request count"
        ),
    ),
    (
        RpcFailure.FATAL,
        re.compile(r"intrinsic gas|exceeds block gas|oversized data|invalid sender|invalid chain"),
    ),
)


def classify_rpc_failure(message: str) -> RpcFailure:
    """What a node's words mean; UNKNOWN for words nobody has met yet."""
    text = message.lower()
    return next((kind for kind, pattern in _FAILURES if pattern.search(text)), RpcFailure.UNKNOWN)
