"""Contract calls: views, logs and transactions of one deployment behind one node."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.answers import Part, ProvenReading
from corechain.contracts import RevertDecoder, Reverted, UnexpectedReturn, function_of
from corechain.deposits import DepositPending, deposit_pending
from corechain.node import ChainUnavailable
from corechain.protocol.archive import Place, Revealed
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.errors import InvalidValue, ProtocolError, UnknownDevice
from corechain.protocol.events import DeviceRegistered, FleetEnrolled, KeysPublished
from corechain.protocol.fleet import Fleet, device_ids, published_keys
from corechain.protocol.hashing import Digest26
from corechain.protocol.keys import DeviceIdentity, KeyType, device_id
from corechain.protocol.logs import topic_of
from corechain.protocol.reading import DeviceId
from corechain.protocol.redemption import Redemption, pack_redemptions
from corechain.protocol.rewards import RewardClaim
from corechain.protocol.statistics import Statistics
from corechain.protocol.values import (
    U48_MAX,
    U128_MAX,
    OctetsLike,
    address,
    items,
    octets,
    one_of,
    whole,
)
from corechain.receipt_calls import ReceiptCalls
from corechain.sent import Sent
from corechain.transactions import GasNotCovered, Receipt, TransactionPending
from corechain.writer import require_account

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

BY_SENT = "`Chain.again(error.sent)` goes on with it; another call deposits again"

__all__ = [
    "Chain",
    "ChainUnavailable",
    "DepositPending",
    "GasNotCovered",
    "Receipt",
    "RevertDecoder",
    "Reverted",
    "TransactionPending",
]


REORG_BLOCKS = 5_000
"""So many blocks are read again: no reorg that we do not call impossible is deeper."""


def _config_tuple(config: ChannelConfig) -> tuple[object, ...]:
    one_of("config", config, ChannelConfig, "takes the terms of a payment channel")
    return (
        bytes(config.payer),
        bytes(config.payer_authorizer),
        bytes(config.receiver),
        bytes(config.receiver_authorizer),
        bytes(config.token),
        config.withdraw_delay_s,
        config.salt,
    )


def _key_tuple(key: bytes) -> tuple[object, ...]:
    return (
        int.from_bytes(key[:2], "big"),
        int.from_bytes(key[2:10], "big"),
        bytes(key[10:30]),
        int.from_bytes(key[30:35], "big"),
    )


def _joined(keys: object) -> bytes:
    given = items("keys", keys, object, "takes public keys of 64 bytes")
    return b"".join(octets(f"keys[{index}]", key, 64) for index, key in enumerate(given))


@dataclass
class Chain(ReceiptCalls):
    """The contracts of one deployment behind one node. Blocking; not for a service's hot path.

    Threads may share it, and it works after a fork. Every method raises ChainUnavailable when the
    node gives no usable answer, WrongChain when it serves another chain or none of the contracts.
    """

    _listings: dict[DeviceId, FleetEnrolled] = field(init=False, repr=False, default_factory=dict)
    _fleets_read: int = field(init=False, repr=False, default=0)
    """The block up to which the lists of fleets were read."""

    def prove_reading(self, proven: ProvenReading) -> None:
        """Asks the contract itself whether a reading is in its batch. Raises InvalidProof."""
        one_of("proven", proven, ProvenReading, "takes a ProvenReading")
        self.call("DataBatches", "verifyReading", *proven.as_arguments())

    def committed_at(self, batch_id: int, commitment: OctetsLike) -> int:
        """The second in which a batch was committed by itself, as the ring has it. Raises
        UnknownBatch, InvalidProof for another commitment."""
        batch, word = whole("batch_id", batch_id, 1, U48_MAX), octets("commitment", commitment, 26)
        where = tuple(Place.alone(batch))
        return int(self.call("DataBatches", "requireCommitted", batch, word, where))

    def prove_range(self, part: Part) -> Statistics:
        """Asks the contract itself for proven statistics. Raises InvalidProof, RangeIncomplete."""
        one_of("part", part, Part, "takes a part of a statistics answer")
        found = self.call(
            "DataBatches",
            "verifyRange",
            *Revealed(part.header, Digest26(part.readings_root)).words(),
            _key_tuple(part.bounds.low),
            _key_tuple(part.bounds.high),
            part.start,
            part.end,
            b"".join(part.proof.leaves),
            b"".join(node.pack() for node in part.proof.nodes),
        )
        return Statistics(*found)

    def register_device(
        self,
        account: "LocalAccount",
        identity: DeviceIdentity,
        owner: OctetsLike,
        activation: OctetsLike,
    ) -> Receipt:
        """Registers a device for an owner; `activation` is the device's own signature of that."""
        one_of("identity", identity, DeviceIdentity, "takes the identity of a device key")
        public = identity.public_key or bytes(64)
        return self.send(
            account,
            "DeviceRegistry",
            "register",
            bytes(identity.device),
            address("owner", owner),
            int(identity.key_type),
            public[:32],
            public[32:],
            activation,
        )

    def owner_and_key_type(self, device: OctetsLike) -> tuple[bytes, int]:
        """Of a device with a slot of its own, else as the first fleet that lists it has it.

        Raises UnknownDevice.
        """
        wanted = DeviceId(address("device", device))
        owner, key_type, _, _ = self.call("DeviceRegistry", "deviceOf", wanted)
        if int(str(owner), 16):
            return bytes.fromhex(str(owner)[2:]), int(key_type)
        event = self._first_listing(wanted)
        return event.owner, event.key_type

    def _first_listing(self, wanted: DeviceId) -> FleetEnrolled:
        """The first fleet that lists a device, from the logs; what was read is kept, for no list is
        ever taken back. Raises UnknownDevice."""
        first = self.deployment.contract("DeviceRegistry").block
        start = max(first, self._fleets_read - REORG_BLOCKS)
        topics = ["0x" + topic_of(FleetEnrolled).hex()]
        if wanted not in self._listings:
            for end, events in self._pieces("DeviceRegistry", topics, start, self.node.head()):
                for event in events:
                    for device in device_ids(event.ids):
                        self._listings.setdefault(device, event)
                self._fleets_read = end
                if wanted in self._listings:
                    break
        found = self._listings.get(wanted)
        if found is None:
            raise UnknownDevice(wanted)
        return found

    def fleet_of(self, device: OctetsLike) -> Fleet | None:
        """The first fleet that lists a device which has no slot of its own; None where it has one.
        Raises UnknownDevice."""
        wanted = DeviceId(address("device", device))
        owner, _, _, _ = self.call("DeviceRegistry", "deviceOf", wanted)
        if int(str(owner), 16):
            return None
        event = self._first_listing(wanted)
        return Fleet(event.owner, KeyType(event.key_type), device_ids(event.ids))

    def public_key_of(self, device: OctetsLike) -> bytes | None:
        """x ‖ y of a device on P-256, from the log of its registration or of published keys; None
        where it is in neither. The id is a hash of the key, so no node can name another one."""
        wanted = DeviceId(address("device", device))
        first, head = self.deployment.contract("DeviceRegistry").block, self.node.head()
        start = self.node.first_block_since(self._registered_at(wanted), first)
        # A key is shown with the registration, or after it; not always, so the rest is read too.
        for low, high in ((start, head), (first, start - 1)):
            for key in self._keys_shown(low, high):
                if device_id(key) == wanted:
                    return key
        return None

    def _registered_at(self, wanted: DeviceId) -> int:
        """When a device was registered, or its fleet; 0 where it is unknown."""
        _, _, registered_at, _ = self.call("DeviceRegistry", "deviceOf", wanted)
        if registered_at:
            return int(registered_at)
        try:
            fleet = self._first_listing(wanted).fleet
        except UnknownDevice:
            return 0
        _, registered_at, _ = self.call("DeviceRegistry", "fleetOf", fleet)
        return int(registered_at)

    def _keys_shown(self, first: int, last: int) -> Iterator[bytes]:
        topics = [["0x" + topic_of(kind).hex() for kind in (DeviceRegistered, KeysPublished)]]
        for event in self._events("DeviceRegistry", topics, first, last):
            if isinstance(event, DeviceRegistered):
                yield bytes(event.x + event.y)
            else:
                yield from (key for _, key in published_keys(event.keys))

    def enrol_fleet(self, account: "LocalAccount", fleet: Fleet) -> Receipt:
        """For enrollers: all devices of one owner, by root, with the list in the log."""
        one_of("fleet", fleet, Fleet, "takes a Fleet")
        owner = bytes(fleet.owner)
        key_type = int(fleet.key_type)
        return self.send(account, "DeviceRegistry", "enrolFleet", owner, key_type, fleet.packed)

    def materialise(self, account: "LocalAccount", fleet: Fleet, device: OctetsLike) -> Receipt:
        """Writes the slot of a fleet's device, so that its owner can act on it. Anyone may."""
        one_of("fleet", fleet, Fleet, "takes a Fleet")
        wanted = DeviceId(address("device", device))
        try:
            position = fleet.position(wanted)
        except ValueError as error:
            raise InvalidValue("device", wanted, "takes a device of the fleet") from error
        return self.send(
            account,
            "DeviceRegistry",
            "materialise",
            fleet.root,
            wanted,
            position,
            fleet.proof(position),
        )

    def publish_keys(self, account: "LocalAccount", keys: Sequence[bytes]) -> Receipt:
        """Puts P-256 keys (x ‖ y) of a fleet's devices into the log, after its enrolment."""
        return self.send(account, "DeviceRegistry", "publishKeys", _joined(keys))

    def claim_rewards(self, account: "LocalAccount", claim: RewardClaim) -> Receipt:
        """Claims for the owner in the leaf, whoever sends it."""
        one_of("claim", claim, RewardClaim, "takes a RewardClaim")
        return self.send(
            account,
            "CoreToken",
            "claim",
            bytes(claim.owner),
            claim.cumulative,
            claim.position,
            list(claim.proof),
        )

    def active_root(self) -> tuple[int, bytes]:
        """(epoch, root) that is claimable now."""
        epoch, root = self.call("CoreToken", "activeRoot")
        return int(epoch), bytes(root)

    def rewards_claimed(self, owner: OctetsLike) -> int:
        """All that an owner has ever claimed, base units."""
        return int(self.call("CoreToken", "claimedOf", address("owner", owner)))

    def balance_of(self, holder: OctetsLike) -> int:
        """CORE tokens in base units."""
        return int(self.call("CoreToken", "balanceOf", address("holder", holder)))

    def open_channel(
        self,
        account: "LocalAccount",
        config: ChannelConfig,
        amount: int,
        signed: Callable[[Sent], None] | None = None,
    ) -> Receipt:
        """Deposits CORE into a payment channel, after allowing exactly that much to be drawn; each
        call deposits. `signed` hears of the deposit's transaction before any node does. Raises
        DepositPending: `again(error.sent)` goes on with it. A plain TransactionPending is of the
        allowance: nothing is deposited, and a retry allows the same."""
        # Before the allowance is paid for: what is wrong with the deposit is found here.
        amount, terms = whole("amount", amount, 1, U128_MAX), _config_tuple(config)
        spender = bytes(self.deployment.address("PaymentChannels"))
        self.send(account, "CoreToken", "approve", spender, amount)
        data = function_of("PaymentChannels", "open", 2).encode([terms, amount])
        try:
            return self._send(account, "PaymentChannels", "open", data, signed)
        except TransactionPending as pending:
            which = self.deployment, config, amount, BY_SENT
            raise deposit_pending(pending, *which) from pending

    def channel_balance(self, channel_id: OctetsLike) -> tuple[int, int]:
        """(deposited, claimed) of a payment channel, base units."""
        found = octets("channel_id", channel_id, 32)
        balance, claimed = self.call("PaymentChannels", "channels", found)
        return int(balance), int(claimed)

    def redeem(
        self, account: "LocalAccount", vouchers: Sequence[tuple[ChannelConfig, int, bytes]]
    ) -> Receipt:
        """Claims (terms, amount, signature) vouchers and pays them out, in one transaction."""
        right = "takes rows of terms, amount and signature"
        given = items("vouchers", vouchers, tuple, right)
        if any(len(row) != 3 for row in given):
            raise InvalidValue("vouchers", vouchers, right)
        rows = [(_config_tuple(config), amount, sig) for config, amount, sig in given]
        return self.send(account, "PaymentChannels", "redeem", rows)

    def channel_balances(self, channel_ids: Sequence[bytes]) -> list[tuple[int, int]]:
        """(deposited, claimed) of many payment channels, in one call."""
        view = function_of("PaymentChannels", "channels", 1)
        wanted = items("channel_ids", channel_ids, object, "takes channel ids")
        asked = [view.encode([octets("channel_id", channel_id, 32)]) for channel_id in wanted]
        found = self.call("PaymentChannels", "multicall", asked)
        try:
            balances = [view.decode(bytes(answer)) for answer in found]
        except UnexpectedReturn as error:
            raise ChainUnavailable(f"PaymentChannels.multicall: {error}") from error
        return [(int(balance), int(claimed)) for balance, claimed in balances]

    def takes_packed_redemptions(self) -> bool:
        """Whether the contract has `redeemGroupsBrief`: x402's own has not."""
        try:
            self.call("PaymentChannels", "redeemGroupsBrief")
        except ProtocolError as error:
            # Asked for nothing, ours says so by name; a contract without the function only reverts.
            return "EmptyBatch" in (error.name, getattr(error, "error", None))
        return False

    def redeem_packed(self, account: "LocalAccount", rows: Sequence[Redemption]) -> Receipt:
        """Redeems vouchers to their ceilings by packed bytes; bad ones are left out and logged.

        The account is on the receiver's side of all of them. Raises MalformedRows.
        """
        rows = items("rows", rows, Redemption, "takes Redemptions")
        require_account(account)
        packed = pack_redemptions(rows, bytes.fromhex(account.address[2:]))
        return self.send_packed(account, "PaymentChannels", "redeemGroupsBrief", packed)

    def claim_and_settle(
        self, account: "LocalAccount", rows: Sequence[tuple[Redemption, int]]
    ) -> Receipt:
        """Claims (voucher, cumulative amount up to its ceiling) and pays them out, in one
        transaction, by x402's own functions. All rows are of one receiver and token."""
        right = "takes at least one row of a Redemption and its total"
        given = items("rows", rows, tuple, right)
        if not given or any(len(row) != 2 or not isinstance(row[0], Redemption) for row in given):
            raise InvalidValue("rows", rows, right)
        claims = [
            ((_config_tuple(row.config), row.amount), row.signature, total) for row, total in rows
        ]
        config = rows[0][0].config
        claim = function_of("PaymentChannels", "claim", 1).encode([claims])
        settle = function_of("PaymentChannels", "settle", 2)
        calls = [claim, settle.encode([config.receiver, config.token])]
        return self.send(account, "PaymentChannels", "multicall", calls)

    def pending_withdrawal(self, channel_id: OctetsLike) -> tuple[int, int]:
        """(amount in base units, since which second) of a channel's withdrawal; zeros for none."""
        found = octets("channel_id", channel_id, 32)
        amount, since = self.call("PaymentChannels", "pendingWithdrawals", found)
        return int(amount), int(since)

    def initiate_withdraw(
        self, account: "LocalAccount", config: ChannelConfig, amount: int
    ) -> Receipt:
        """Starts the payer's way out that needs nobody's help."""
        return self.send(
            account, "PaymentChannels", "initiateWithdraw", _config_tuple(config), amount
        )

    def finalize_withdraw(self, account: "LocalAccount", config: ChannelConfig) -> Receipt:
        return self.send(account, "PaymentChannels", "finalizeWithdraw", _config_tuple(config))
