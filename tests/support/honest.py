"""Honest lanes as odd as they may lawfully be, simulated in memory: no search may accuse them.

Late data, both curves, fleets, devices that get a slot only later, that were revoked within the
hour, successor bonds, equal values, one reading, groups of batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random

from corechain.protocol.archive import Group, Place, Revealed
from corechain.protocol.batch import (
    Batch,
    EmptyBatch,
    Origin,
    ancestor_of,
    batch_id,
    number_of,
    seal,
)
from corechain.protocol.chain_findings import find_in_lane, repeated_report
from corechain.protocol.claims import claim_of
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.evidence import Dossier
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.inquiry import Inquiry
from corechain.protocol.keys import DeviceIdentity, DeviceKey, KeyType, P256Key, Secp256k1Key
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.suspects import (
    DeviceFacts,
    Lane,
    Listing,
    Neighbour,
    Slot,
    Standing,
    Suspect,
)

CHAIN_ID, REGISTRY, OWNER = 31337, b"\x11" * 20, b"\x22" * 20
DOMAIN = registry_domain(CHAIN_ID, REGISTRY)
CELL, START, GRACE_S = 0x872A1072FFFFFFF, 1_800_000_000, 3_600
SEQUENCES = 40
"""Signed reports of each device: signing costs more than all the rest."""
Known = dict[DeviceId, DeviceFacts]


@cache
def keys() -> tuple[DeviceKey, ...]:
    """Eight devices of each curve."""
    secrets = [bytes(31) + bytes([n]) for n in range(1, 17)]
    return (*map(Secp256k1Key, secrets[:8]), *map(P256Key, secrets[8:]))


@cache
def identities() -> tuple[DeviceIdentity, ...]:
    """Of the devices: derived once, for that costs as much as all the rest."""
    return tuple(key.identity for key in keys())


def _observations(random: Random, sequence: int, revoked: bool) -> list[Observation]:
    """Also a day late, equal, alone. A revoked device's are at most an hour after that."""
    late = random.choice((0, 0, 0, 86_400))
    latest = min(sequence * 300, GRACE_S) if revoked else sequence * 300
    at, value = START + latest - late, random.choice((1500, 1500, random.randrange(1400, 1600)))
    return [Observation(1, CELL, at - n, value) for n in range(random.choice((1, 1, 2, 5)))]


@cache
def signed(index: int, revoked: bool) -> tuple[SignedReport, ...]:
    """Reports of a device with ascending sequences, some of them left out."""
    key, random, found = keys()[index], Random(index), list[SignedReport]()
    for step in range(SEQUENCES):
        sequence = 3 * step + random.randrange(3)
        items = _observations(random, sequence, revoked)
        report = Report.of(key.identity.device, sequence, items)
        found.append(SignedReport(report, key.sign(report_digest(DOMAIN, report))))
    return tuple(found)


@cache
def fleet(key_type: KeyType) -> Fleet:
    ids = [one.device for one in identities() if one.key_type is key_type]
    return Fleet.of(OWNER, key_type, ids)


@cache
def wrong_fleet(index: int) -> Fleet:
    """One that puts a device on the curve that it is not on."""
    identity = identities()[index]
    return Fleet.of(OWNER, KeyType(3 - identity.key_type), [identity.device])


def _facts(random: Random, index: int, committed_at: int) -> DeviceFacts:
    """By a slot of its own; by a fleet; by a fleet, with a slot that came only after the commit;
    revoked at the start."""
    identity = identities()[index]
    slot = Slot(identity.key_type, START - random.randrange(1_000))
    listing = Listing(fleet(identity.key_type), START - random.randrange(1_000))
    later = Slot(identity.key_type, committed_at + random.randrange(1, 1_000))
    wrong = wrong_fleet(index)
    ways: Sequence[tuple[Slot, Sequence[Listing]]] = (
        (slot, ()),
        (slot, [listing]),
        (Slot(), [listing]),
        (later, [listing]),
        (Slot(), [Listing(wrong, START), listing]),
        (slot._replace(revoked_at=START), [listing]),
    )
    way = ways[index % len(ways)]
    return DeviceFacts(*way, identity.public_key)


def is_revoked(index: int) -> bool:
    return index % 6 == 5


@dataclass
class HonestLane:
    """Seals batch after batch as the aggregator does, under one bond or its successor."""

    random: Random
    number: int = 0
    batches: list[Batch] = field(default_factory=list)
    heads: dict[int, Digest26] = field(default_factory=dict)
    states: dict[StateKey, State] = field(default_factory=dict)
    used: dict[int, int] = field(default_factory=dict)

    def seal(self) -> None:
        """The next batch, unless nobody has anything left to send or nothing passes the rules."""
        reports = self._reports()
        origin = self._origin()
        known = {identity.device: identity for identity in identities()}
        try:
            batch = seal(origin, reports, known, self.states)
        except EmptyBatch:
            return
        self.number += 1
        self.states.update(batch.states)
        self.heads[self.number] = batch.commitment
        self.batches.append(batch)

    def _origin(self) -> Origin:
        number = self.number + 1
        links = (self.heads.get(n, ZERO26) for n in (self.number, ancestor_of(number)))
        return Origin(batch_id(3, number), *links, CHAIN_ID, REGISTRY)

    def _reports(self) -> list[SignedReport]:
        found = []
        for index in self.random.sample(range(len(keys())), self.random.choice((1, 1, 2, 4))):
            used = self.used.get(index, 0)
            count = self.random.choice((1, 1, 2))
            found += signed(index, is_revoked(index))[used : used + count]
            self.used[index] = used + count
        return found


def lane_suspects(random: Random, batches: Sequence[Batch]) -> list[Suspect]:
    """As they stand on chain: alone or in a group, each a while after the other."""
    committed_at = START + SEQUENCES * 1_000
    known = {one.device: _facts(random, i, committed_at) for i, one in enumerate(identities())}
    places = _places(random, batches)
    found = []
    for batch, place in zip(batches, places, strict=True):
        dossier = Dossier.claimed(claim_of(batch.data_file))
        number = batch.header.batch_id
        standing = Standing(number, batch.commitment, place, committed_at)
        found.append(Suspect(standing, dossier, DOMAIN, known))
    return found


def _places(random: Random, batches: Sequence[Batch]) -> list[Place]:
    numbers = [number_of(batch.header.batch_id) for batch in batches]
    consecutive = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if len(batches) < 2 or not consecutive or random.random() < 0.7:
        return [Place.alone(batch.header.batch_id) for batch in batches]
    group = Group(batches[0].header.batch_id, [batch.commitment for batch in batches])
    return [group.place(batch.header.batch_id) for batch in batches]


def network(random: Random, batches: int = 4) -> list[Suspect]:
    """A lane of some batches. A bond's successor begins after a gap in the numbers, and names what
    the headers of the bond before it led to."""
    lane = HonestLane(random, number=random.choice((0, 0, 6, 2**26)))
    if lane.number:
        lane.heads[lane.number] = Digest26(b"\x05" * 26)
        lane.heads[ancestor_of(lane.number + 1)] = Digest26(b"\x05" * 26)
        lane.heads.pop(0, None)  # number 0 is none: a first ancestor has nothing to name
    for _ in range(batches):
        lane.seal()
    return lane_suspects(random, lane.batches) if lane.batches else []


def accused(suspects: Sequence[Suspect]) -> Iterator[object]:
    """All that a search finds or wants to demand of a lane."""
    near: dict[int, list[Neighbour]] = {}
    for one in suspects:
        neighbour = Neighbour(one.standing, one.dossier.revealed)
        near.setdefault(one.standing.batch_id, []).append(neighbour)
    headers: dict[bytes, Revealed] = {
        one.standing.commitment: one.dossier.revealed for one in suspects
    }
    lane = Lane(near, headers)
    for at, one in enumerate(suspects):
        yield from find_in_lane(one, lane)
        yield from filter(None, (repeated_report(one, other) for other in suspects[:at]))
        dossier = one.dossier
        assert isinstance(dossier, Dossier)
        inquiry = Inquiry(one.standing, one.domain, one.devices, dossier)
        yield from inquiry.accusations()
        yield from inquiry.wanted()


def with_fault(one: Suspect, random: Random) -> Suspect:
    """The same batch with one byte of its reports changed: what a search has to notice."""
    dossier = one.dossier
    assert isinstance(dossier, Dossier)
    at = random.randrange(len(dossier.reports))
    report = bytearray(dossier.reports[at])
    report[-1 - random.randrange(64)] ^= 1 << random.randrange(8)
    reports = [*dossier.reports[:at], bytes(report), *dossier.reports[at + 1 :]]
    changed = Dossier(dossier.header, dossier.leaves, reports, dossier.statistics)
    header = replace(dossier.header, reports_root=changed.reports_tree.root)
    return replace(one, dossier=replace(changed, header=header))
