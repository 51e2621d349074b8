"""What relayer and owners do, as events of a modelled chain, without contracts."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from support.fake_chain import FakeChain

from corechain.deployment import REQUIRED, DeployedContract, Deployment
from corechain.protocol import events as e
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.events import Event
from corechain.protocol.hashing import ZERO26
from indexer.support import World, device_keys

DEVICES = 4
KEYS = device_keys(DEVICES)
OWNERS = [bytes([n]) * 20 for n in (1, 2, 3)]
CONTRACTS = {
    name: DeployedContract(name, bytes([0xC0 + place]) * 20, 1)
    for place, name in enumerate(REQUIRED)
}
DEPLOYMENT = Deployment(31337, CONTRACTS)


@dataclass
class Model:
    """What a relayer and the owners do, as events of the next block."""

    chain: FakeChain
    world: World
    confirmations: int = 8
    """So many blocks below the highest one that there ever was, a block is final."""
    block: list[tuple[bytes, Event]] = field(default_factory=list)

    def happened(self) -> Iterator[Event]:
        yield from self.chain.events()
        yield from (event for _, event in self.block)

    def emit(self, contract: str, event: Event) -> None:
        self.block.append((CONTRACTS[contract].address, event))

    def mine(self) -> None:
        self.chain.mine(self.block)
        self.block = []

    def slots(self) -> set[bytes]:
        kinds = (e.DeviceRegistered, e.DeviceMaterialised)
        return {event.device for event in self.happened() if isinstance(event, kinds)}

    def register(self, n: int) -> None:
        identity = KEYS[n % DEVICES].identity
        if identity.device not in self.slots():  # a device has one slot in its life
            public = identity.public_key or bytes(64)
            event = e.DeviceRegistered(
                identity.device, OWNERS[n % 3], identity.key_type, public[:32], public[32:]
            )
            self.emit("DeviceRegistry", event)

    def enrol(self, n: int) -> None:
        """One key type a fleet: of some device it is the wrong one."""
        listed = sorted(key.identity.device for i, key in enumerate(KEYS) if n >> i & 1)
        ids = b"".join(listed)
        event = e.FleetEnrolled(bytes([n]) * 26, OWNERS[n % 3], 1 + n % 2, ids)
        if listed:
            self.emit("DeviceRegistry", event)

    def transfer(self, n: int) -> None:
        device = KEYS[n % DEVICES].identity.device
        if device in self.slots():
            self.emit("DeviceRegistry", e.DeviceTransferred(device, OWNERS[0], OWNERS[n % 3]))

    def commit(self, n: int) -> None:
        """A batch of some devices, registered or not."""
        commits = [event for event in self.happened() if isinstance(event, e.BatchCommitted)]
        world = self.world
        world.number, world.states = len(commits), {}
        world.previous = commits[-1].commitment if commits else ZERO26
        keys = [key for i, key in enumerate(KEYS) if n >> i & 1]
        if keys:
            batch = world.sealed(hours=1, keys=keys)
            world.publish(batch)
            self.emit("DataBatches", e.BatchCommitted(world.number + 1, batch.commitment))

    def propose(self, n: int) -> None:
        """A root that is wrong, through a block that may be in the future."""
        through = max(0, self.chain.blocks[-1].number + n % 4 - 1)
        epoch = 1 + n // 8
        self.emit("CoreToken", e.RootProposed(n << 48 | epoch, through, 1000))

    def veto(self, n: int) -> None:
        self.emit("CoreToken", e.RootVetoed(1 + n % 2))

    def channel(self, n: int) -> None:
        """Opens one of two channels, or redeems from it: the log has only a part of its id."""
        name = bytes([n % 2 + 1]) * 32
        opened = [x for x in self.happened() if isinstance(x, e.Deposited) and x.channel_id == name]
        if not opened:
            config = ChannelConfig(*(OWNERS[0],) * 5, 900, bytes(32))
            self.emit("PaymentChannels", e.PaymentChannelCreated(name, config))
        self.emit("PaymentChannels", e.Deposited(name, OWNERS[0], 10, 10))
        total = sum(1 for _ in self.happened())
        row = name[:20] + total.to_bytes(12, "big")
        self.emit("PaymentChannels", e.RedeemedMany((row,)))

    def reorg(self, n: int) -> None:
        """Down to the newest block that was final for whoever saw the longest chain."""
        deepest = max(0, self.chain.highest - self.confirmations)
        depth = n % self.confirmations + 1
        self.chain.cut(max(deepest, self.chain.blocks[-1].number - depth))

    def outgrow(self) -> None:
        """Every reorg ends with a block on the new branch that is higher than what was seen."""
        for _ in range(self.chain.highest + 1 - self.chain.blocks[-1].number):
            self.mine()


HAPPENS = ("register", "enrol", "transfer", "commit", "propose", "veto", "channel")
