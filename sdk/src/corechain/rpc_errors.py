"""What a node's refusals mean. The one place where a node's words are read."""

import re
from enum import Enum


class RpcFailure(Enum):
    """What a node's refusal of a call means for its sender."""

    ALREADY_KNOWN = "already known"
    NONCE_TOO_LOW = "nonce too low"
    NONCE_TOO_HIGH = "nonce too high"
    """Or a lower one is missing. Where there is no mempool it is a matter of the next block."""
    REPLACEMENT_UNDERPRICED = "replacement underpriced"
    UNDERPRICED = "underpriced"
    FEE_CAP_EXCEEDED = "fee cap exceeded"
    """Dearer than this one node forwards: another may take the same bytes."""
    GAS_TOO_LOW = "gas too low"
    """What it may spend of gas does not do any more, which an estimate of now cures: after a fork,
    or where the limit pays for bytes on another chain, too (Arbitrum), and those became dearer."""
    INSUFFICIENT_FUNDS = "insufficient funds"
    POOL_FULL = "pool full"
    REVERTED = "reverted"
    RATE_LIMITED = "rate limited"
    UNAVAILABLE = "unavailable"
    """The node cannot do it now: it syncs, or its sequencer is away."""
    TYPE_NOT_SUPPORTED = "transaction type not supported"
    FATAL = "fatal"
    """The transaction itself is invalid, whatever the moment: its size, signature or chain."""
    UNKNOWN = "unknown"


# Wordings of geth, op-geth, Nitro, Bor, Erigon, Besu, Nethermind, reth, anvil and of hosted
# providers; tests/sdk/node_words.py has them as they come. The first that fits counts, and order
# matters:
# * "execution reverted" comes first: behind it stand a contract's words, and it may say anything;
# * "unknown transaction" is not "known transaction";
# * a replacement can be underpriced without being too low for the pool;
# * what a sequencer said stands quoted behind "failed to forward tx to sequencer".
_FAILURES: tuple[tuple[RpcFailure, re.Pattern[str]], ...] = (
    (
        RpcFailure.REVERTED,
        re.compile(
            r"execution reverted|transaction reverted|: revert\b|always failing transaction"
            r"|reverted with reason|vm execution error|not be completed due to an exception"
        ),
    ),
    (
        RpcFailure.ALREADY_KNOWN,
        re.compile(
            r"already known|\bknown transaction|already imported|already exists|alreadyknown"
            r"|already in (the )?(mem|tx)?pool|txn? with same hash|(^|: )mined$"
        ),
    ),
    (
        RpcFailure.NONCE_TOO_LOW,
        re.compile(
            r"nonce (is )?too low|oldnonce|invalid transaction nonce|already finalized"
            r"|nonce has already been used"
        ),
    ),
    (
        RpcFailure.NONCE_TOO_HIGH,
        re.compile(
            r"nonce (is )?too high|nonce gap|noncegap|gapped.nonce|nonce is too distant"
            r"|invalid transaction with a lower nonce|nonce ?too ?far ?in ?future"
            r"|notcurrentnoncefordelegation"
        ),
    ),
    (
        RpcFailure.REPLACEMENT_UNDERPRICED,
        re.compile(
            r"replacement transaction underpriced|same nonce in the (tx pool|queue)"
            r"|replacementnotallowed|ownnoncealreadyused|could not replace existing"
            r"|gas price to replace existing"
        ),
    ),
    (
        RpcFailure.UNDERPRICED,
        re.compile(
            r"underpriced|fee ?too ?low|less than block base fee|gas price.{0,30}too low"
            r"|gas price.{0,24}below|(tip|fee) ?cap (\d+ )?below|below (the )?current base fee"
            r"|unacceptable gas price|priority fee below"
        ),
    ),
    (
        RpcFailure.FEE_CAP_EXCEEDED,
        re.compile(r"exceeds the configured cap|fee cap exceeded"),
    ),
    (
        RpcFailure.INSUFFICIENT_FUNDS,
        # geth's "allowance": the gas that the sender's balance pays for does not do.
        re.compile(
            r"insufficient ?(funds|balance)|gas required exceeds allowance|not enough funds"
            r"|exceeds account balance|cause overdraft|insufficient_payer_balance"
            r"|have enough funds|overdraws from account"
        ),
    ),
    (
        RpcFailure.POOL_FULL,
        re.compile(
            r"pool (is )?full|queue (is )?full|account limit exceeded|in-flight transaction limit"
            r"|too many transactions in the queue|(address|authority) already reserved"
            r"|replace pending|\bspammer\b|exceeded max transactions per sender|l2 congestion"
            r"|transaction type conflict|pendingtxsofconflictingtype|pool size constraints"
            r"|delegatorhaspendingtx|authority has pending"
        ),
    ),
    (
        RpcFailure.RATE_LIMITED,
        re.compile(
            r"rate.?limit|too many requests|compute units per second|capacity exceeded"
            r"|request limit reached|daily request count|throughput limit|request rate exceeded"
            r"|requests per second|capacity limit|\brps limit|exceeded its .{0,40}capacity"
            r"|(exceeded|reached) the quota|reached the usage limit"
        ),
    ),
    (
        RpcFailure.TYPE_NOT_SUPPORTED,
        re.compile(
            r"type not (supported|valid)|unsupported transaction type|invalid transaction type"
            r"|transaction type .{0,30}not (supported|allowed|activated)|not support eip-?1559"
            r"|notsupportedtxtype"
        ),
    ),
    (
        RpcFailure.GAS_TOO_LOW,
        re.compile(
            r"intrinsic ?gas( ?too ?low| exceeds gas limit|$)|callgascostmorethangaslimit"
            r"|floor data gas|gas is too low\. there is not enough"
        ),
    ),
    (
        RpcFailure.FATAL,
        re.compile(
            r"intrinsic gas too high|exceeds (the )?block('s)? gas|gas ?limit ?exceeded"
            r"|gas limit (is )?too high|exceeds transaction gas limit|per-transaction gas limit"
            r"|gas limit of rejected tx|gas ?uint(64)? ?overflow|cost overflow"
            r"|int256overflow|oversized data|input data too large|rlptoolong|transaction too large"
            r"|maxtxsizeexceeded|invalid (tx )?sender|failed ?to ?(resolve|recover) ?sender"
            r"|invalid signature|invalid chain|wrong chain|negative value|initcode (size|too large)"
            r"|(priority )?fee per gas (higher|exceeds)|tip higher than fee cap|not an eoa"
            r"|senderiscontract|bytecode set|replay-protected|chainid (not supported|is required)"
            r"|(^|: )(transaction invalid\b|invalid(, transaction hash is null)?$)"
            r"|nonce has max value"
        ),
    ),
    (
        RpcFailure.UNAVAILABLE,
        re.compile(
            r"sequencer (temporarily )?not available|chosen sequencer|forward tx to sequencer"
            r"|sync is still in progress|pool not enabled|\bsyncing\b|timeout|timed out"
            r"|deadline exceeded|temporarily unavailable|service unavailable|healthy to serve"
            r"|no backends? available|world state (is not|un)available|insertion of another"
            r"|header not found|please retry|sequencer internal error|internal server error"
            r"|bad gateway|network is unreachable|unable to complete request"
            r"|suitable provider|context cancell?(ed|ation)"
        ),
    ),
)

TOO_CHEAP = (RpcFailure.UNDERPRICED, RpcFailure.REPLACEMENT_UNDERPRICED)
"""A higher fee cures these."""
ANEW = (*TOO_CHEAP, RpcFailure.GAS_TOO_LOW)
"""Signed again, at a higher fee and with the gas of now, it may be taken."""
INVALID = (RpcFailure.FATAL, RpcFailure.TYPE_NOT_SUPPORTED)
"""Nothing cures these but another transaction."""


INVALID_PARAMS, METHOD_NOT_FOUND, INTERNAL_ERROR = -32602, -32601, -32603
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


def may_have_acted(code: int, message: str) -> bool:
    """Whether a node that refuses may do it all the same: a time-out of its own, or of its
    sequencer, or a fault inside that it has no words for."""
    failure = classify_rpc_failure(message)
    is_internal = code == INTERNAL_ERROR and failure is RpcFailure.UNKNOWN
    return is_internal or failure is RpcFailure.UNAVAILABLE


def classify_rpc_failure(message: str) -> RpcFailure:
    """What a node's words mean; UNKNOWN for words nobody has met yet."""
    text = message.lower()
    return next((kind for kind, pattern in _FAILURES if pattern.search(text)), RpcFailure.UNKNOWN)
