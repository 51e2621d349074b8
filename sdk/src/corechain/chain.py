"""Contract calls. The only module that imports web3 and the only one that reads RPC error texts."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from eth_abi.abi import decode as abi_decode
from eth_account.signers.local import LocalAccount
from eth_typing import HexStr
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import (
    ContractCustomError,
    ContractLogicError,
    TimeExhausted,
    Web3Exception,
    Web3RPCError,
)
from web3.types import TxParams, TxReceipt

from corechain.answers import Part, ProvenReading
from corechain.deployment import Deployment, load_abi
from corechain.protocol import errors
from corechain.protocol.archive import MAX_GROUP
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.eip712 import uint_word
from corechain.protocol.errors import (
    ProtocolError,
    TransportError,
    UnknownBatch,
    UnknownDevice,
    WrongChain,
)
from corechain.protocol.events import (
    BatchCommitted,
    BatchesCommitted,
    commitments_of,
    decode_log,
    topic_of,
)
from corechain.protocol.fleet import Fleet, device_ids
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import DeviceIdentity
from corechain.protocol.reading import DeviceId
from corechain.protocol.redemption import Redemption, pack_redemptions
from corechain.protocol.rewards import RewardClaim
from corechain.protocol.statistics import Statistics

RECEIPT_TIMEOUT_S = 120.0


class ChainUnavailable(TransportError):
    """The node did not answer, or answered with an error of its own."""


class Reverted(ProtocolError):
    """A contract refused for a reason that has no class of its own here."""

    def __init__(self, name: str, values: tuple[object, ...] = ()) -> None:
        super().__init__(f"the contract reverted with {name}{values if values else ''}")
        self.error, self.values = name, values


def _selector(entry: Mapping[str, Any]) -> bytes:
    types = ",".join(_canonical(item) for item in entry["inputs"])
    return keccak(f"{entry['name']}({types})".encode())[:4]


def _canonical(item: Mapping[str, Any]) -> str:
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_canonical(part) for part in item["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def _python_value(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]{40}", value):
        return bytes.fromhex(value[2:])
    return value


def _named_error(name: str, values: tuple[object, ...]) -> ProtocolError:
    """The Python class of a Solidity error: one failure, one name."""
    kind = errors.by_name(name)
    if kind is None:
        return Reverted(name, values)
    try:
        has_facts = kind.__init__ is not ProtocolError.__init__
        return kind(*values) if has_facts else kind(f"the contract says {name}{values or ''}")
    except TypeError:
        return Reverted(name, values)


@dataclass(frozen=True, slots=True)
class RevertDecoder:
    """Custom errors of our contracts by selector."""

    entries: Mapping[bytes, Mapping[str, Any]]

    @classmethod
    def of(cls, abis: Sequence[list[dict[str, Any]]]) -> "RevertDecoder":
        found = (entry for abi in abis for entry in abi if entry["type"] == "error")
        return cls({_selector(entry): entry for entry in found})

    def error(self, data: str) -> ProtocolError:
        raw = bytes.fromhex(data.removeprefix("0x"))
        entry = self.entries.get(raw[:4])
        if entry is None:
            return Reverted("0x" + raw[:4].hex())
        types = [_canonical(item) for item in entry["inputs"]]
        values = tuple(_python_value(value) for value in abi_decode(types, raw[4:]))
        return _named_error(str(entry["name"]), values)


def _config_tuple(config: ChannelConfig) -> tuple[object, ...]:
    return (
        Web3.to_checksum_address(config.payer),
        Web3.to_checksum_address(config.payer_authorizer),
        Web3.to_checksum_address(config.receiver),
        Web3.to_checksum_address(config.receiver_authorizer),
        Web3.to_checksum_address(config.token),
        config.withdraw_delay_s,
        config.salt,
    )


def _key_tuple(key: bytes) -> tuple[object, ...]:
    return (
        int.from_bytes(key[:2], "big"),
        int.from_bytes(key[2:10], "big"),
        Web3.to_checksum_address(key[10:30]),
        int.from_bytes(key[30:35], "big"),
    )


CONTRACTS = (
    "DeviceRegistry",
    "DataBatches",
    "BatchChallenges",
    "CoreToken",
    "PaymentChannels",
    "StateChannels",
)


@dataclass
class Chain:
    """The contracts of one deployment behind one node. Blocking; not for a service's hot path."""

    rpc_url: str
    deployment: Deployment
    _abis: dict[str, list[dict[str, Any]]] = field(init=False, repr=False)
    _fleet_devices: dict[DeviceId, tuple[bytes, int]] = field(
        init=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        self._abis = {name: load_abi(name) for name in CONTRACTS}

    @cached_property
    def web3(self) -> Web3:
        """Connected and on the right chain. Raises ChainUnavailable, WrongChain."""
        web3 = Web3(Web3.HTTPProvider(self.rpc_url, request_kwargs={"timeout": 30}))
        try:
            chain_id = web3.eth.chain_id
        except (OSError, Web3Exception) as error:
            raise ChainUnavailable(f"no answer from the node at {self.rpc_url}") from error
        if chain_id != self.deployment.chain_id:
            raise WrongChain(
                f"the node at {self.rpc_url} is on chain {chain_id}, "
                f"the deployment on {self.deployment.chain_id}"
            )
        return web3

    @cached_property
    def _decoder(self) -> RevertDecoder:
        return RevertDecoder.of(list(self._abis.values()))

    def contract(self, name: str) -> Contract:
        address = Web3.to_checksum_address(self.deployment.address(name))
        return self.web3.eth.contract(address=address, abi=self._abis[name])

    def call(self, contract: str, function: str, *arguments: object) -> Any:
        """A view. Raises the contract's error by its own name, ChainUnavailable."""
        bound = self.contract(contract).functions[function](*arguments)
        try:
            return bound.call()
        except ContractLogicError as error:
            raise self._revert(error) from error
        except (OSError, Web3Exception) as error:
            raise ChainUnavailable(f"{contract}.{function}: {error}") from error

    def send(
        self, account: LocalAccount, contract: str, function: str, *arguments: object
    ) -> TxReceipt:
        """A transaction, waited for. Raises the contract's error by its own name, ChainUnavailable.

        For people and scripts. Services keep a journal of intents instead (relayer's submitter).
        """
        bound = self.contract(contract).functions[function](*arguments)
        label = f"{contract}.{function}"
        return self._sent(
            account, label, lambda params: cast(dict[str, Any], bound.build_transaction(params))
        )

    def send_packed(
        self, account: LocalAccount, contract: str, function: str, data: bytes
    ) -> TxReceipt:
        """The same for a function that reads packed bytes behind its selector (no arguments)."""
        bound = self.contract(contract).functions[function]()
        packed = "0x" + (_selector(bound.abi) + data).hex()

        def build(params: TxParams) -> dict[str, Any]:
            # Estimated with its bytes: without them the call reverts.
            asked: TxParams = {"from": params["from"], "to": bound.address, "data": HexStr(packed)}
            gas = self.web3.eth.estimate_gas(asked)
            built = cast(dict[str, Any], bound.build_transaction(params | {"gas": gas}))
            return built | {"data": packed}

        return self._sent(account, f"{contract}.{function}", build)

    def _sent(
        self, account: LocalAccount, label: str, build: Callable[[TxParams], dict[str, Any]]
    ) -> TxReceipt:
        try:
            nonce = self.web3.eth.get_transaction_count(account.address, "pending")
            transaction = build({"from": account.address, "nonce": nonce})
            signed = account.sign_transaction(transaction)
            sent = self.web3.eth.send_raw_transaction(signed.raw_transaction)
            receipt = self.web3.eth.wait_for_transaction_receipt(sent, RECEIPT_TIMEOUT_S)
        except ContractLogicError as error:
            raise self._revert(error) from error
        except (OSError, TimeExhausted, Web3RPCError, Web3Exception) as error:
            raise ChainUnavailable(f"{label}: {error}") from error
        if receipt["status"] != 1:
            raise Reverted(f"{label} in transaction 0x{bytes(sent).hex()}")
        return receipt

    def _revert(self, error: ContractLogicError) -> ProtocolError:
        data = error.data if isinstance(error.data, str) else None
        if isinstance(error, ContractCustomError) or data:
            return self._decoder.error(data or str(error.args[0]))
        return Reverted(str(error))

    def commitment_of(self, batch_id: int) -> bytes:
        """The 26-byte commitment of a batch, from the ring, or from the log if it is older or was
        committed in a group. Raises UnknownBatch."""
        try:
            return bytes(self.call("DataBatches", "commitmentOf", batch_id))
        except Reverted as error:
            if error.error != "Grouped":
                raise
            return self._logged_commitment(batch_id)
        except UnknownBatch:
            return self._logged_commitment(batch_id)

    def commitments_of(self, batches: Mapping[int, int | None]) -> dict[int, bytes]:
        """The commitments of many batches; each maps to the block in which somebody says it was
        committed (a hint where to look, or None). Raises UnknownBatch."""
        return {batch: self.commitment_of(batch) for batch in batches}

    def _logged_commitment(self, batch_id: int) -> bytes:
        # A group is named by its first batch, which is at most MAX_GROUP − 1 before this one.
        firsts = range(batch_id - MAX_GROUP + 1, batch_id + 1)
        topics = ["0x" + uint_word(first).hex() for first in firsts if first > 0]
        for number, commitment in reversed(self._commitments([topics])):
            if number == batch_id:
                return commitment
        raise UnknownBatch(batch_id)

    def _commitments(self, topics: Sequence[Any] = ()) -> list[tuple[int, bytes]]:
        """(batch id, commitment) of the logs since the deployment, oldest first."""
        contract = self.deployment.contracts["DataBatches"]
        kinds = ["0x" + topic_of(kind).hex() for kind in (BatchCommitted, BatchesCommitted)]
        wanted: Any = {
            "address": Web3.to_checksum_address(contract.address),
            "fromBlock": contract.block,
            "topics": [kinds, *topics],
        }
        try:
            logs = self.web3.eth.get_logs(wanted)
        except (OSError, Web3Exception) as error:
            raise ChainUnavailable(f"logs of DataBatches: {error}") from error
        events = (decode_log([bytes(t) for t in log["topics"]], bytes(log["data"])) for log in logs)
        return [row for event in events for row in commitments_of(event)]

    def committed_batches(self) -> list[bytes]:
        """Commitments of all batches since the deployment. For small chains: one call for all."""
        return [commitment for _, commitment in self._commitments()]

    def prove_reading(self, proven: ProvenReading) -> None:
        """Asks the contract itself whether a reading is in its batch. Raises InvalidProof."""
        reading = proven.reading
        fields = (
            reading.metric,
            reading.cell,
            Web3.to_checksum_address(reading.device),
            reading.observed_at,
            reading.value,
            reading.flag,
        )
        self.call(
            "DataBatches",
            "verifyReading",
            proven.batch_id,
            fields,
            proven.position,
            proven.rest_hash,
            list(proven.proof),
        )

    def prove_range(self, part: Part) -> Statistics:
        """Asks the contract itself for proven statistics. Raises InvalidProof, RangeIncomplete."""
        header = part.header
        found = self.call(
            "DataBatches",
            "verifyRange",
            (
                header.batch_id,
                header.previous,
                header.ancestor,
                header.statistics_root,
                header.reports_root,
                header.data_hash,
                header.rules_hash,
                header.reading_count,
                header.report_count,
                header.window_start,
                header.window_end,
            ),
            part.readings_root,
            _key_tuple(part.bounds.low),
            _key_tuple(part.bounds.high),
            part.start,
            part.end,
            b"".join(part.proof.leaves),
            b"".join(node.pack() for node in part.proof.nodes),
        )
        return Statistics(*found)

    def register_device(
        self, account: LocalAccount, identity: DeviceIdentity, owner: bytes, activation: bytes
    ) -> TxReceipt:
        """Registers a device for an owner; `activation` is the device's own signature of that."""
        public = identity.public_key or bytes(64)
        return self.send(
            account,
            "DeviceRegistry",
            "register",
            Web3.to_checksum_address(identity.device),
            Web3.to_checksum_address(owner),
            int(identity.key_type),
            public[:32],
            public[32:],
            activation,
        )

    def owner_and_key_type(self, device: bytes) -> tuple[bytes, int]:
        """Of a device with a slot of its own, else as the first fleet that lists it has it.

        Raises UnknownDevice.
        """
        owner, key_type, _, _ = self.call("DeviceRegistry", "deviceOf", bytes(device))
        if int(str(owner), 16):
            return bytes.fromhex(str(owner)[2:]), int(key_type)
        found = self._fleet_devices.get(DeviceId(device)) or self._enrolled().get(DeviceId(device))
        if found is None:
            raise UnknownDevice(device)
        return found

    def _enrolled(self) -> dict[DeviceId, tuple[bytes, int]]:
        """Fleets' devices from the logs, read anew; kept, for no list is ever taken back."""
        contract = self.deployment.contracts["DeviceRegistry"]
        event = self.contract("DeviceRegistry").events.FleetEnrolled
        try:
            logs = event.get_logs(from_block=contract.block)
        except (OSError, Web3Exception) as error:
            raise ChainUnavailable(f"logs of DeviceRegistry: {error}") from error
        for log in logs:
            said = bytes.fromhex(log["args"]["owner"][2:]), int(log["args"]["keyType"])
            for device in device_ids(bytes(log["args"]["ids"])):
                self._fleet_devices.setdefault(device, said)
        return self._fleet_devices

    def enrol_fleet(self, account: LocalAccount, fleet: Fleet) -> TxReceipt:
        """For enrollers: all devices of one owner, by root, with the list in the log."""
        owner = Web3.to_checksum_address(fleet.owner)
        key_type = int(fleet.key_type)
        return self.send(account, "DeviceRegistry", "enrolFleet", owner, key_type, fleet.packed)

    def materialise(self, account: LocalAccount, fleet: Fleet, device: DeviceId) -> TxReceipt:
        """Writes the slot of a fleet's device, so that its owner can act on it. Anyone may."""
        position = fleet.position(device)
        return self.send(
            account,
            "DeviceRegistry",
            "materialise",
            fleet.root,
            Web3.to_checksum_address(device),
            position,
            fleet.proof(position),
        )

    def publish_keys(self, account: LocalAccount, keys: Sequence[bytes]) -> TxReceipt:
        """Puts P-256 keys (x ‖ y) of a fleet's devices into the log, after its enrolment."""
        return self.send(account, "DeviceRegistry", "publishKeys", b"".join(keys))

    def claim_rewards(self, account: LocalAccount, claim: RewardClaim) -> TxReceipt:
        """Claims for the owner in the leaf, whoever sends it."""
        return self.send(
            account,
            "CoreToken",
            "claim",
            Web3.to_checksum_address(claim.owner),
            claim.cumulative,
            claim.position,
            list(claim.proof),
        )

    def active_root(self) -> tuple[int, bytes]:
        """(epoch, root) that is claimable now."""
        epoch, root = self.call("CoreToken", "activeRoot")
        return int(epoch), bytes(root)

    def balance_of(self, holder: bytes) -> int:
        """CORE tokens in base units."""
        return int(self.call("CoreToken", "balanceOf", Web3.to_checksum_address(holder)))

    def open_channel(self, account: LocalAccount, config: ChannelConfig, amount: int) -> TxReceipt:
        """Deposits CORE into a payment channel, after allowing exactly that much to be drawn."""
        spender = Web3.to_checksum_address(self.deployment.address("PaymentChannels"))
        self.send(account, "CoreToken", "approve", spender, amount)
        return self.send(account, "PaymentChannels", "open", _config_tuple(config), amount)

    def channel_balance(self, channel_id: bytes) -> tuple[int, int]:
        """(deposited, claimed) of a payment channel, base units."""
        balance, claimed = self.call("PaymentChannels", "channels", channel_id)
        return int(balance), int(claimed)

    def redeem(
        self, account: LocalAccount, vouchers: Sequence[tuple[ChannelConfig, int, bytes]]
    ) -> TxReceipt:
        """Claims (terms, amount, signature) vouchers and pays them out, in one transaction."""
        rows = [(_config_tuple(config), amount, sig) for config, amount, sig in vouchers]
        return self.send(account, "PaymentChannels", "redeem", rows)

    def channel_balances(self, channel_ids: Sequence[bytes]) -> list[tuple[int, int]]:
        """(deposited, claimed) of many payment channels, in one call."""
        contract = self.contract("PaymentChannels")
        asked = [contract.encode_abi("channels", [channel_id]) for channel_id in channel_ids]
        found = self.call("PaymentChannels", "multicall", asked)
        balances = (abi_decode(["uint128", "uint128"], bytes(answer)) for answer in found)
        return [(int(balance), int(claimed)) for balance, claimed in balances]

    def takes_packed_redemptions(self) -> bool:
        """Whether the contract has `redeemGroupsBrief`: x402's own has not."""
        try:
            self.call("PaymentChannels", "redeemGroupsBrief")
        except ProtocolError as error:
            # Asked for nothing, ours says so by name; a contract without the function only reverts.
            return "EmptyBatch" in (error.name, getattr(error, "error", None))
        return False

    def redeem_packed(self, account: LocalAccount, rows: Sequence[Redemption]) -> TxReceipt:
        """Redeems vouchers to their ceilings by packed bytes; bad ones are left out and logged.

        The account is on the receiver's side of all of them. Raises MalformedRows.
        """
        packed = pack_redemptions(rows, bytes.fromhex(account.address[2:]))
        return self.send_packed(account, "PaymentChannels", "redeemGroupsBrief", packed)

    def claim_and_settle(
        self, account: LocalAccount, rows: Sequence[tuple[Redemption, int]]
    ) -> TxReceipt:
        """Claims (voucher, cumulative amount up to its ceiling) and pays them out, in one
        transaction, by x402's own functions. All rows are of one receiver and token."""
        contract = self.contract("PaymentChannels")
        claims = [
            ((_config_tuple(row.config), row.amount), row.signature, total) for row, total in rows
        ]
        config = rows[0][0].config
        payee = [Web3.to_checksum_address(party) for party in (config.receiver, config.token)]
        calls = [contract.encode_abi("claim", [claims]), contract.encode_abi("settle", payee)]
        return self.send(account, "PaymentChannels", "multicall", calls)

    def initiate_withdraw(
        self, account: LocalAccount, config: ChannelConfig, amount: int
    ) -> TxReceipt:
        """Starts the payer's way out that needs nobody's help."""
        return self.send(
            account, "PaymentChannels", "initiateWithdraw", _config_tuple(config), amount
        )

    def finalize_withdraw(self, account: LocalAccount, config: ChannelConfig) -> TxReceipt:
        return self.send(account, "PaymentChannels", "finalizeWithdraw", _config_tuple(config))
