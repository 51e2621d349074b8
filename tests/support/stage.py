"""DataBatches with a bonded submitter, a registry with devices, and somebody who watches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from web3.contract import Contract
from web3.exceptions import ContractCustomError

from corechain.chain import RevertDecoder, Reverted
from corechain.protocol.archive import Place
from corechain.protocol.eip712 import Domain, activation_digest, registry_domain
from corechain.protocol.evidence import Demand, Dossier, Evidence, Fraud
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import P256Key, Secp256k1Key
from support.bench import START, Actor, Bench, artefact
from support.drafts import HOUR_S, hourly, leaves_of, signed_report

Key = TypeVar("Key", Secp256k1Key, P256Key)

BOND, FEE = 10**21, 10**18
WINDOW_S, ANSWER_S = 86_400, 3_600
SINCE = START - 10**7
"""When the first observation was made, seconds."""


@dataclass(frozen=True)
class Stage:
    """The contracts, who commits on lane 0, and who challenges."""

    bench: Bench
    token: Contract
    batches: Contract
    registry: Contract
    submitter: Actor
    challenger: Actor

    @property
    def domain(self) -> Domain:
        return registry_domain(self.bench.chain_id, bytes.fromhex(self.registry.address[2:]))

    def balance(self, actor: Actor | str) -> int:
        address = actor if isinstance(actor, str) else actor.address
        return int(self.token.functions.balanceOf(address).call())

    def bond(self, lane: int) -> int:
        call = self.batches.functions
        self.bench.send(self.submitter, call.assignLane(lane, self.submitter.address))
        return self.bench.send(self.submitter, call.bondLane(lane))

    def register(self, key: Secp256k1Key | P256Key) -> int:
        """Owned by the challenger; whose it is does not matter here."""
        identity, owner = key.identity, self.challenger
        signature = key.sign(activation_digest(self.domain, identity.device, owner.raw))
        x, y = identity.public_key[:32], identity.public_key[32:]
        device = self.bench.web3.to_checksum_address(identity.device)
        call = self.registry.functions.register(
            device, owner.address, int(identity.key_type), x, y, signature
        )
        return self.bench.send(owner, call)

    def enrol_fleet(self, fleet: Fleet) -> int:
        """The submitter is the admin; whose the fleet is does not matter here."""
        call, owner = self.registry.functions, self.bench.web3.to_checksum_address(fleet.owner)
        self.bench.send(self.submitter, call.setEnroller(self.submitter.address, True))
        enrol = call.enrolFleet(owner, int(fleet.key_type), fleet.packed)
        return self.bench.send(self.submitter, enrol)

    def enrol(self, kind: type[Key]) -> tuple[Key, Fleet]:
        """One device of a fleet of nine, and the fleet: three leaves, the last not full."""
        keys = [kind(bytes(31) + bytes([n])) for n in range(0x90, 0x99)]
        key_type = keys[0].identity.key_type
        fleet = Fleet.of(self.challenger.raw, key_type, [key.identity.device for key in keys])
        self.enrol_fleet(fleet)
        return max(keys, key=lambda key: key.identity.device), fleet

    def commit(self, dossier: Dossier) -> int:
        call = self.batches.functions.commit(dossier.header.batch_id, dossier.revealed.commitment)
        return self.bench.send(self.submitter, call)

    def challenge(
        self, fraud: Fraud, dossier: Dossier, evidence: Evidence, place: Place | None = None
    ) -> Any:
        """The call; the caller sends it or sees it refused."""
        number = dossier.header.batch_id
        where = tuple(place or Place.alone(number))
        batch = dossier.revealed.words()
        return self.batches.functions.challenge(fraud, number, batch, where, evidence.words())

    def demand(self, kind: Demand, dossier: Dossier, evidence: Evidence) -> Any:
        number, commitment = dossier.header.batch_id, dossier.revealed.commitment
        where = tuple(Place.alone(number))
        return self.batches.functions.demand(kind, number, commitment, where, evidence.words())

    def answer(self, kind: Demand, dossier: Dossier, subject: bytes, evidence: Evidence) -> Any:
        number, commitment = dossier.header.batch_id, dossier.revealed.commitment
        return self.batches.functions.answer(kind, number, commitment, subject, evidence.words())

    def refused(self, sender: Actor, call: Any) -> str:
        """Name of the contract's error that a call ends with."""
        try:
            call.call({"from": sender.address})
        except ContractCustomError as error:
            found = decoder().error(str(error.data))
            return found.error if isinstance(found, Reverted) else type(found).__name__
        raise AssertionError(f"{call} was not refused")

    def reports(self, key: Secp256k1Key | P256Key, sequences: Sequence[int]) -> list[bytes]:
        """Four hourly observations each, one report after the other."""
        return [
            signed_report(self.domain, key, n, hourly(SINCE + 4 * HOUR_S * n, 4)) for n in sequences
        ]


def readings(key: Secp256k1Key | P256Key, sequences: Sequence[int]) -> list[bytes]:
    """The leaves of `Stage.reports`."""
    seen = [one for n in sequences for one in hourly(SINCE + 4 * HOUR_S * n, 4)]
    return sorted(leaves_of(key, seen))


@cache
def decoder() -> RevertDecoder:
    names = ("DataBatches", "BatchChallenges", "DeviceRegistry", "OrdinaryToken")
    return RevertDecoder.of([artefact(name)["abi"] for name in names])


def set_stage(url: str) -> Stage:
    return build_stage(Bench(url))


def build_stage(bench: Bench) -> Stage:
    submitter, challenger = bench.account("submitter"), bench.account("challenger")
    token = bench.deploy("OrdinaryToken")
    registry = bench.deploy("DeviceRegistry", submitter.address)
    judge = bench.deploy("BatchChallenges", registry.address)
    terms = (token.address, BOND, FEE, WINDOW_S, ANSWER_S, judge.address)
    batches = bench.deploy("DataBatches", submitter.address, *terms)
    for holder in (submitter, challenger):
        bench.send(holder, token.functions.mint(holder.address, 100 * BOND))
        bench.send(holder, token.functions.approve(batches.address, 2**256 - 1))
    stage = Stage(bench, token, batches, registry, submitter, challenger)
    stage.bond(0)
    return stage
