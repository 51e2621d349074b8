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


INVALID_PARAMS, METHOD_NOT_FOUND = -32602, -32601
"""JSON-RPC 2.0, section 5.1. Of a question for a block by its tag only the tag can be meant."""
# geth before 1.10.22 and old Erigon read a tag as a number ("hex string without 0x prefix"), as did
# OpenEthereum ("invalid digit found"); Hardhat: "Invalid value \"finalized\" supplied to". Not
# "finalized block not found": so speaks a node that knows the tag, and has no such block yet.
_NO_TAG = re.compile(
    r"(unknown|invalid|unsupported|unrecogni[sz]ed) (block )?(tag|parameter)"
    r"|(invalid|unsupported) block number"
    r"|tag\b.{0,40}\bnot supported|method not supported|invalid value .{0,20}supplied to"
    r"|without 0x prefix|invalid digit found"
)


def denies_tag(code: int, message: str) -> bool:
    """Whether a refusal of eth_getBlockByNumber says that the node does not know the block tag.

    A limit on questions, whatever code it comes with, says nothing of tags.
    """
    if classify_rpc_failure(message) is RpcFailure.RATE_LIMITED:
        return False
    known = code in (INVALID_PARAMS, METHOD_NOT_FOUND)
    return known or _NO_TAG.search(message.lower()) is not None


def classify_rpc_failure(message: str) -> RpcFailure:
    """What a node's words mean; UNKNOWN for words nobody has met yet."""
    text = message.lower()
    return next((kind for kind, pattern in _FAILURES if pattern.search(text)), RpcFailure.UNKNOWN)
