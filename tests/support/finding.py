"""What a search for frauds is told of a stage: its devices, its lane."""

from corechain.protocol.archive import Place
from corechain.protocol.chain_findings import find_in_lane, repeated_report
from corechain.protocol.evidence import Dossier, Evidence, Fraud
from corechain.protocol.findings import find
from corechain.protocol.keys import DeviceKey
from corechain.protocol.reading import DeviceId
from corechain.protocol.suspects import (
    DeviceFacts,
    Lane,
    Listing,
    Neighbour,
    Slot,
    Standing,
    Suspect,
)
from support.frauds import KEY, OTHER, Case
from support.stage import Stage


def facts_of(stage: Stage, key: DeviceKey, *listings: Listing) -> DeviceFacts:
    device = stage.bench.web3.to_checksum_address(key.identity.device)
    slot = stage.registry.functions.deviceOf(device).call()
    return DeviceFacts(Slot(*slot[1:4]), listings, key.identity.public_key)


def devices_of(stage: Stage, *keys: DeviceKey) -> dict[DeviceId, DeviceFacts]:
    return {key.identity.device: facts_of(stage, key) for key in keys or (KEY, OTHER)}


def suspect(stage: Stage, dossier: Dossier, number: int | None = None) -> Suspect:
    """A batch as it was just committed, alone."""
    number = number or dossier.header.batch_id
    place = Place.alone(number)
    standing = Standing(number, dossier.revealed.commitment, place, stage.bench.now)
    return Suspect(standing, dossier, stage.domain, devices_of(stage))


def lane_of(*suspects: Suspect) -> Lane:
    """All of one bond."""
    near: dict[int, list[Neighbour]] = {}
    for one in suspects:
        neighbour = Neighbour(one.standing, one.dossier.revealed)
        near.setdefault(one.standing.batch_id, []).append(neighbour)
    headers = {one.standing.commitment: one.dossier.revealed for one in suspects}
    return Lane(near, headers)


def accusations(stage: Stage, number: int, case: Case) -> dict[Fraud, Evidence]:
    """All that is found in the batch of a case."""
    accused = suspect(stage, case.dossier, number)
    others = [suspect(stage, other) for other in case.others]
    found = [*find(accused), *find_in_lane(accused, lane_of(accused, *others))]
    found += filter(None, (repeated_report(accused, other) for other in others))
    return {one.fraud: one.evidence for one in found}
