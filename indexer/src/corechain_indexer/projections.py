"""Events as rows of the tables that are read. Pure: one event in, (table, row) pairs out."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from corechain.protocol import events as e
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.errors import ProtocolError
from corechain.protocol.fleet import device_ids
from corechain.protocol.logs import MalformedLog, commitments_of, layouts
from corechain.protocol.redemption import redeemed_totals
from corechain.service.rpc import Log

Row = tuple[Any, ...]
Projection = tuple[str, Row]
LARGEST_BIGINT = (1 << 63) - 1

COLUMNS: dict[str, tuple[str, ...]] = {
    "event": (
        "block_number", "log_index", "block_hash", "transaction", "address", "topics", "data",
    ),
    "device_event": (
        "block_number", "log_index", "kind", "device", "owner", "key_type", "public_key",
        "revoked_at",
    ),
    "fleet_device": (
        "block_number", "log_index", "position", "fleet", "device", "owner", "key_type",
    ),
    "batch": (
        "block_number", "log_index", "batch_id", "commitment", "block_hash", "transaction",
    ),
    "root_event": (
        "block_number", "log_index", "kind", "epoch", "root", "through_block", "emission",
        "active_at",
    ),
    "claim_event": ("block_number", "log_index", "owner", "amount", "cumulative"),
    "payment_channel": (
        "block_number", "log_index", "channel_id", "payer", "payer_authorizer", "receiver",
        "receiver_authorizer", "token", "withdraw_delay", "salt",
    ),
    "payment_event": ("block_number", "log_index", "kind", "channel_id", "amount", "total"),
    "state_channel_event": (
        "block_number", "log_index", "kind", "channel_id", "party_a", "party_b", "token",
        "challenge_period", "open_before", "salt", "deposit", "balance_a", "version", "deadline",
        "paid_b",
    ),
}  # fmt: skip


def raw_row(log: Log) -> Row:
    return (
        log.block_number,
        log.index,
        log.block_hash,
        log.transaction,
        log.address,
        b"".join(log.topics),
        log.data,
    )


def _registered(x: e.DeviceRegistered) -> Projection:
    public = x.x + x.y
    key = public if any(public) else None
    return "device_event", ("registered", x.device, x.owner, x.key_type, key, None)


def _materialised(x: e.DeviceMaterialised) -> Projection:
    return "device_event", ("materialised", x.device, x.owner, x.key_type, None, None)


def _transferred(x: e.DeviceTransferred) -> Projection:
    return "device_event", ("transferred", x.device, x.after, None, None, None)


def _revoked(x: e.DeviceRevoked) -> Projection:
    return "device_event", ("revoked", x.device, None, None, None, x.revoked_at)


def _proposed(x: e.RootProposed) -> Projection:
    # The contract takes any 64 bits from a proposer; a block of that number can never be.
    if x.through_block > LARGEST_BIGINT:
        raise MalformedLog(f"RootProposed reaches through block {x.through_block}")
    row = ("proposed", x.epoch, x.root, x.through_block, x.emission, x.active_at)
    return "root_event", row


def _vetoed(x: e.RootVetoed) -> Projection:
    return "root_event", ("vetoed", x.epoch, None, None, None, None)


def _reward_claimed(x: e.RewardClaimed) -> Projection:
    return "claim_event", (x.owner, x.amount, x.cumulative)


def config_row(config: ChannelConfig) -> Row:
    return (
        config.payer,
        config.payer_authorizer,
        config.receiver,
        config.receiver_authorizer,
        config.token,
        config.withdraw_delay_s,
        config.salt,
    )


def _created(x: e.PaymentChannelCreated) -> Projection:
    return "payment_channel", (x.channel_id, *config_row(x.config))


def _deposited(x: e.Deposited) -> Projection:
    return "payment_event", ("deposited", x.channel_id, x.amount, x.balance)


def _claimed(x: e.VoucherClaimed) -> Projection:
    return "payment_event", ("claimed", x.channel_id, x.amount, x.total_claimed)


def _redeemed(x: e.Redeemed) -> Projection:
    return "payment_event", ("redeemed", x.channel_id, x.amount, x.total_claimed)


def _refunded(x: e.Refunded) -> Projection:
    return "payment_event", ("refunded", x.channel_id, x.amount, None)


def _withdrawing(x: e.WithdrawInitiated) -> Projection:
    return "payment_event", ("withdrawing", x.channel_id, x.amount, x.finalize_after)


def _withdrawn(x: e.WithdrawFinalized) -> Projection:
    return "payment_event", ("withdrawn", x.channel_id, x.amount, None)


def _state_row(kind: str, channel_id: bytes, terms: Row = (None,) * 6, **fields: int) -> Projection:
    names = ("deposit", "balance_a", "version", "deadline", "paid_b")
    return "state_channel_event", (kind, channel_id, *terms, *(fields.get(n) for n in names))


def _opened(x: e.StateChannelOpened, log: Log, chain_id: int) -> Projection:
    t = x.terms
    terms = (t.party_a, t.party_b, t.token, t.challenge_period_s, t.open_before, t.salt)
    channel_id = t.channel_id(chain_id, log.address)
    return _state_row("opened", channel_id, terms, deposit=x.deposit, balance_a=x.balance_a)


def _topped_up(x: e.StateChannelToppedUp) -> Projection:
    return _state_row("topped_up", x.channel_id, deposit=x.deposit, balance_a=x.balance_a)


def _challenged(x: e.StateChannelChallenged) -> Projection:
    return _state_row(
        "challenged",
        x.channel_id,
        balance_a=x.balance_a,
        version=x.version,
        deadline=x.deadline,
    )


def _closed(x: e.StateChannelClosed) -> Projection:
    return _state_row("closed", x.channel_id, balance_a=x.paid_a, paid_b=x.paid_b)


_PROJECTORS: dict[type[e.Event], Callable[[Any], Projection]] = {
    e.DeviceRegistered: _registered,
    e.DeviceMaterialised: _materialised,
    e.DeviceTransferred: _transferred,
    e.DeviceRevoked: _revoked,
    e.RootProposed: _proposed,
    e.RootVetoed: _vetoed,
    e.RewardClaimed: _reward_claimed,
    e.PaymentChannelCreated: _created,
    e.Deposited: _deposited,
    e.VoucherClaimed: _claimed,
    e.Redeemed: _redeemed,
    e.Refunded: _refunded,
    e.WithdrawInitiated: _withdrawing,
    e.WithdrawFinalized: _withdrawn,
    e.StateChannelToppedUp: _topped_up,
    e.StateChannelChallenged: _challenged,
    e.StateChannelClosed: _closed,
}


def _batch_rows(
    x: e.BatchCommitted | e.BatchesCommitted, log: Log, chain_id: int
) -> list[Projection]:
    where = (log.block_hash, log.transaction)
    place = (log.block_number, log.index)
    return [("batch", (*place, *row, *where)) for row in commitments_of(x)]


def _fleet_rows(x: e.FleetEnrolled, log: Log, chain_id: int) -> list[Projection]:
    place = (log.block_number, log.index)
    devices = enumerate(device_ids(x.ids))
    return [
        ("fleet_device", (*place, position, x.fleet, device, x.owner, x.key_type))
        for position, device in devices
    ]


def _redeemed_rows(x: e.RedeemedMany, log: Log, chain_id: int) -> list[Projection]:
    """The log has the first 20 bytes of each id and no amount: the database knows the rest.

    A channel is a row, however many of its vouchers were redeemed together: the last says it all.
    """
    place = (log.block_number, log.index)
    totals: dict[bytes, int] = {}
    for prefix, total in redeemed_totals(x.rows):
        # The contract pays for what is more than before; a total never falls.
        totals[prefix] = max(total, totals.get(prefix, 0))
    return [
        ("payment_event", (*place, "redeemed", prefix, None, total))
        for prefix, total in totals.items()
    ]


def _opened_rows(x: e.StateChannelOpened, log: Log, chain_id: int) -> list[Projection]:
    table, row = _opened(x, log, chain_id)
    return [(table, (log.block_number, log.index, *row))]


_MANY: dict[type[e.Event], Callable[[Any, Log, int], list[Projection]]] = {
    e.BatchCommitted: _batch_rows,
    e.BatchesCommitted: _batch_rows,
    e.RedeemedMany: _redeemed_rows,
    e.FleetEnrolled: _fleet_rows,
    e.StateChannelOpened: _opened_rows,
}
"""Those that take more than their own fields, or give more than a row."""
PROJECTED = frozenset({*_PROJECTORS, *_MANY})
"""The kinds that give rows; of the others only the raw log is kept."""


def project(event: e.Event, log: Log, chain_id: int) -> list[Projection]:
    """The rows of an event, none for one that is only kept raw. Raises MalformedLog, and
    MalformedList for a list of devices."""
    kind = type(event)
    projector = _PROJECTORS.get(kind)
    if projector is not None:
        table, row = projector(event)
        return [(table, (log.block_number, log.index, *row))]
    many = _MANY.get(kind)
    return [] if many is None else many(event, log, chain_id)


@dataclass(frozen=True, slots=True)
class Projected:
    """Rows by table, raw logs among them, of some logs in chain order."""

    tables: dict[str, Sequence[Row]]
    counts: Counter[str] = field(default_factory=Counter)
    """Well-formed events by name."""
    malformed: list[tuple[int, str]] = field(default_factory=list)
    """Block of each log in a wrong shape, and what is wrong with it; the store adds those of which
    it could not take a row."""

    @classmethod
    def of(cls, logs: Sequence[Log], chain_id: int) -> "Projected":
        """One odd log makes no other one odd: it is kept raw, and said."""
        found = cls.without_raw(logs, chain_id)
        found.tables["event"] = list(map(raw_row, logs))
        return found

    @classmethod
    def without_raw(cls, logs: Iterable[Log], chain_id: int) -> "Projected":
        """As `of`, for who has the raw rows already."""
        tables: dict[str, list[Row]] = defaultdict(list)
        # No Counter: its items are counted in Python, an eighth of a microsecond each.
        kinds: dict[type[e.Event], int] = defaultdict(int)
        malformed = []
        for log in logs:
            try:
                kind = _add(tables, log, chain_id)
            except ProtocolError as error:
                malformed.append((log.block_number, str(error)))
                continue
            if kind is not None:
                kinds[kind] += 1
        counts = Counter({kind.__name__: count for kind, count in kinds.items()})
        return cls(dict(tables), counts, malformed)


def _add(tables: dict[str, list[Row]], log: Log, chain_id: int) -> type[e.Event] | None:
    """The event's kind; None when it is not one of ours. Raises MalformedLog, MalformedList."""
    layout = layouts().get(log.topics[0]) if log.topics else None
    if layout is None:
        return None
    if layout.kind not in PROJECTED:
        layout.check(log.topics, log.data)  # half of all logs: no row is made of them
        return layout.kind
    for table, row in project(layout.event(log.topics, log.data), log, chain_id):
        tables[table].append(row)
    return layout.kind
