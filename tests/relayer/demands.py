"""Somebody who demands data of a lane, and a lane with a batch to demand from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi.abi import encode

from corechain.devnet.settings import GUARD_KEY
from corechain.protocol.archive import Place
from corechain.protocol.batch import Batch, Origin, ancestor_of, batch_id, seal
from corechain.protocol.eip712 import address_word, registry_domain, uint_word
from corechain.protocol.events import EVIDENCE, Answered, Demanded
from corechain.protocol.evidence import Demand, Dossier, Evidence, position_of
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import ZERO26, Digest26, keccak
from corechain.protocol.keys import DeviceKey
from corechain.protocol.logs import decode_log, topic_of
from corechain_relayer.aggregator.files import write_data_file
from relayer.support import ADMIN, Chain, Sensor, eventually, secp

GUARD = "0x976EA74026E726554dB657fA54763abd0C3a0aa9"
SUBMITTER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
GUARDED = {"RELAYER_GUARD_KEY": GUARD_KEY}
DEMAND_TYPES = ["uint8", "uint48", "bytes26", "(uint48,uint32,bytes26[])", EVIDENCE]
DEMAND = keccak(f"demand({','.join(DEMAND_TYPES)})".encode())[:4]
ANSWER_TYPES = ["uint8", "uint48", "bytes26", "bytes32", EVIDENCE]
ANSWER = keccak(f"answer({','.join(ANSWER_TYPES)})".encode())[:4]
ANSWER_WINDOW_S = 3600


@dataclass
class Challenger:
    """Demands and sees what became of it."""

    chain: Chain

    def __post_init__(self) -> None:
        approve = keccak(b"approve(address,uint256)")[:4]
        spender = self.chain.deployment.address("DataBatches")
        self.chain.send("CoreToken", approve + address_word(spender) + uint_word(2**256 - 1))

    def demand(self, kind: Demand, batch: Dossier, evidence: Evidence) -> bytes:
        """The demand's id."""
        receipt = self.chain.send("DataBatches", self.call(kind, batch, evidence))
        return self.demanded(receipt).demand_id

    def call(self, kind: Demand, batch: Dossier, evidence: Evidence) -> bytes:
        number, commitment = batch.header.batch_id, batch.revealed.commitment
        place = tuple(Place.alone(number))
        return DEMAND + encode(DEMAND_TYPES, [kind, number, commitment, place, evidence.words()])

    def demanded(self, receipt: dict[str, Any]) -> Demanded:
        events = (event_of(entry) for entry in receipt["logs"])
        return next(event for event in events if isinstance(event, Demanded))

    def at(self, kind: Demand, batch: Dossier, position: int) -> bytes:
        return self.demand(kind, batch, position_of(position))

    def source(self, batch: Dossier, position: int) -> bytes:
        evidence = Evidence([batch.reading(position)], [batch.witness()])
        return self.demand(Demand.SOURCE, batch, evidence)

    def registration(self, batch: Dossier, report: int) -> bytes:
        evidence = Evidence([batch.report(report)], [batch.witness()])
        return self.demand(Demand.REGISTRATION, batch, evidence)

    def later(self, kind: Demand, batch: Dossier, position: int) -> str:
        """A demand that lies in the pool, behind what pays better; its transaction."""
        return self.chain.send_later("DataBatches", self.call(kind, batch, position_of(position)))

    def of_batch(self, batch_id: int, commitment: bytes) -> bytes:
        """A demand for the first report of a batch of which only the commitment is known."""
        fields = [Demand.REPORT, batch_id, commitment, (batch_id, 0, []), ([], [], bytes(4))]
        receipt = self.chain.send("DataBatches", DEMAND + encode(DEMAND_TYPES, fields))
        return self.demanded(receipt).demand_id

    def answer_call(self, batch: Dossier, position: int) -> bytes:
        """To a demand for a reading."""
        evidence = Evidence([batch.reading(position)], [batch.witness()])
        what = (Demand.READING, batch.header.batch_id, batch.revealed.commitment)
        fields = [*what, uint_word(position), evidence.words()]
        return ANSWER + encode(ANSWER_TYPES, fields)

    def answer(self, batch: Dossier, position: int) -> None:
        self.chain.send("DataBatches", self.answer_call(batch, position))

    def is_open(self, demand_id: bytes) -> bool:
        data = keccak(b"demandOf(bytes32)")[:4] + demand_id
        return int(self.chain.call("DataBatches", data)[:64], 16) != 0

    def answers(self, demand_id: bytes) -> list[dict[str, Any]]:
        """Receipts of the answers, oldest first."""
        topics = ["0x" + topic_of(Answered).hex(), "0x" + demand_id.hex()]
        logs = self.chain.logs("DataBatches", topics)
        return [self.chain.receipt(entry["transactionHash"]) for entry in logs]

    def awaited(self, *demands: bytes) -> list[dict[str, Any]]:
        """Receipts of the answers, once there is one to each demand."""

        def all_closed() -> bool:
            """every demand is answered"""
            return not any(self.is_open(demand_id) for demand_id in demands)

        eventually(all_closed)
        return [self.answers(demand_id)[-1] for demand_id in demands]

    def bond(self) -> int:
        data = keccak(b"bondOf(uint16)")[:4] + uint_word(0)
        return int(self.chain.call("DataBatches", data)[64:128], 16)


def event_of(entry: dict[str, Any]) -> Any:
    topics = [bytes.fromhex(topic[2:]) for topic in entry["topics"]]
    return decode_log(topics, bytes.fromhex(entry["data"][2:]))


def committed(chain: Chain, folder: Path, *sensors: Sensor, lane: int = 0) -> Dossier:
    """The next batch of a lane, with a report of each sensor, on chain and in the folder."""
    before = [c for number, c in chain.commitments().items() if number >> 32 == lane]
    previous = Digest26(before[-1]) if before else ZERO26
    number = batch_id(lane, len(before) + 1)
    ancestor = chain.commitments().get(batch_id(lane, ancestor_of(len(before) + 1)), ZERO26)
    registry = chain.deployment.address("DeviceRegistry")
    origin = Origin(number, previous, Digest26(ancestor), chain.deployment.chain_id, registry)
    known = {sensor.key.identity.device: sensor.key.identity for sensor in sensors}
    sealed = seal(origin, [sensor.report(4) for sensor in sensors], known, {})
    folder.mkdir(exist_ok=True)
    write_data_file(folder, sealed.commitment, sealed.data_file)
    commit_to(chain, number, sealed.commitment)
    return Dossier.of(sealed)


def commit_to(chain: Chain, number: int, commitment: bytes) -> None:
    sender = SUBMITTER if number >> 32 == 0 else ADMIN
    commit = keccak(b"commit(uint48,bytes26)")[:4]
    chain.send("DataBatches", commit + uint_word(number) + commitment + bytes(6), sender)


def in_fleet(chain: Chain, key: DeviceKey) -> Sensor:
    """A device that is in a fleet only."""
    identity = key.identity
    chain.enrol(Fleet.of(bytes.fromhex(ADMIN[2:]), identity.key_type, [identity.device]))
    if identity.public_key and identity.key_type == 2:
        chain.publish_keys(identity.public_key)
    return Sensor(key, chain.domain)


def position_of_device(batch: Dossier, sensor: Sensor) -> int:
    """Of its first report."""
    device = sensor.key.identity.device
    return next(at for at, report in enumerate(batch.reports) if report[:20] == device)


def sealed_batch(devices: int, reports: int) -> Batch:
    """Of no chain: four observations in each report."""
    domain = registry_domain(31337, b"\6" * 20)
    sensors = [Sensor(secp(number), domain) for number in range(1, devices + 1)]
    signed = [sensor.report(4) for sensor in sensors for _ in range(reports)]
    known = {sensor.key.identity.device: sensor.key.identity for sensor in sensors}
    origin = Origin(batch_id(3, 1), ZERO26, ZERO26, 31337, b"\6" * 20)
    return seal(origin, signed, known, {})
