"""Cheats, each with a lane and a bond of its own, and the challenger process that watches them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from corechain.protocol.archive import Group
from corechain.protocol.batch import COUNT, VERDICT, Origin, batch_id, pack_devices, pack_head
from corechain.protocol.claims import claim_of
from corechain.protocol.eip712 import address_word, uint_word
from corechain.protocol.evidence import Demand, Dossier, Evidence
from corechain.protocol.hashing import ZERO26, Digest26, keccak
from corechain.protocol.reading import PASS, Observation
from corechain_relayer.rewards.command import propose_call
from corechain_relayer.rewards.epochs import Proposal
from relayer.support import ADMIN, CELL, Chain, RelayerProcess, Sensor

CHALLENGER = "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"
CHALLENGER_KEY = "0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"
"""Account 8 of anvil's public mnemonic."""
BOND = 1_000 * 10**18
COMMIT, COMMIT_MANY = (
    keccak(name)[:4] for name in (b"commit(uint48,bytes26)", b"commitMany(uint48,bytes)")
)
POOL = 3_000
"""Base units of an epoch's rewards."""
PROPOSER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
"""Account 2, as in deployments/ethereum-local.yaml."""


class ChallengerRun(RelayerProcess):
    """A real challenger."""

    program = "corechain_relayer.challenger"


def challenger_settings(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """Of a challenger that reads the files of a folder, and whose patience is over at once."""
    unused = ("RELAYER_BUS_URL", "RELAYER_BUS_STREAM", "RELAYER_SUBMITTER_KEY")
    kept = {name: value for name, value in environment.items() if name not in unused}
    return kept | {
        "RELAYER_CHALLENGER_KEY": CHALLENGER_KEY,
        "RELAYER_CHALLENGER_DATA_URLS": f"file://{folder}/{{commitment}}.ccdf",
        "RELAYER_CHALLENGER_PATIENCE_S": "0",
        "RELAYER_REFUSED_PAUSE_S": "0.2",
        "RELAYER_RESEND_AFTER_S": "0.5",
    }


def data_file(
    origin: Origin, sensors: Sequence[Sensor], reports: Sequence[bytes], flags: dict[int, int]
) -> bytes:
    """A data file as nobody's relayer would write it. `flags`: verdicts by the observation's place
    in the file, where they are not PASS."""
    known = sorted({sensor.key.identity.device: sensor.key.identity for sensor in sensors}.items())
    total = sum(int.from_bytes(report[28:30], "big") for report in reports)
    verdicts = (VERDICT.pack(flags.get(at, PASS), 0) for at in range(total))
    devices = pack_devices([identity for _, identity in known])
    body = COUNT.pack(len(reports)) + b"".join(reports) + b"".join(verdicts)
    return pack_head(origin) + devices + COUNT.pack(0) + body


@dataclass
class Cheat:
    """A submitter of a lane. `answers`: whether it shows what it can when something is demanded."""

    chain: Chain
    lane: int
    folder: Path
    answers: bool = False
    batches: dict[bytes, Dossier] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spender = self.chain.deployment.address("DataBatches")
        approve = keccak(b"approve(address,uint256)")[:4]
        self.chain.send("CoreToken", approve + address_word(spender) + uint_word(2**256 - 1))
        assign = keccak(b"assignLane(uint16,address)")[:4] + uint_word(self.lane)
        self.chain.send("DataBatches", assign + address_word(bytes.fromhex(ADMIN[2:])))
        self.chain.send("DataBatches", keccak(b"bondLane(uint16)")[:4] + uint_word(self.lane))

    def origin(self, number: int = 1, previous: bytes = ZERO26, ancestor: bytes = ZERO26) -> Origin:
        deployment = self.chain.deployment
        links = Digest26(previous), Digest26(ancestor)
        registry = deployment.address("DeviceRegistry")
        return Origin(batch_id(self.lane, number), *links, deployment.chain_id, registry)

    def written(
        self,
        sensors: Sequence[Sensor],
        reports: Sequence[bytes],
        origin: Origin | None = None,
        flags: dict[int, int] | None = None,
    ) -> Dossier:
        """A batch whose file lies where the challenger looks."""
        content = data_file(origin or self.origin(), sensors, reports, flags or {})
        dossier = Dossier.claimed(claim_of(content))
        self.folder.mkdir(exist_ok=True)
        self._serve(dossier, content)
        return dossier

    def _serve(self, dossier: Dossier, content: bytes) -> None:
        commitment = dossier.revealed.commitment
        (self.folder / f"{commitment.hex()}.ccdf").write_bytes(content)
        self.batches[commitment] = dossier

    def honest(self, sensor: Sensor, count: int = 6) -> Dossier:
        return self.written([sensor], [sensor.report(2).pack() for _ in range(count)])

    def lies(self, dossier: Dossier, **header: object) -> Dossier:
        """Another header over the same data, whose file is offered under the other's commitment."""
        other = replace(dossier, header=replace(dossier.header, **header))
        return self.instead(dossier, other)

    def instead(self, dossier: Dossier, other: Dossier) -> Dossier:
        """`other` is committed; the file that is offered for it is `dossier`'s."""
        path = self.folder / f"{dossier.revealed.commitment.hex()}.ccdf"
        self._serve(other, path.read_bytes())
        return other

    def commit(self, dossier: Dossier, number: int = 1) -> None:
        word = uint_word(batch_id(self.lane, number)) + dossier.revealed.commitment + bytes(6)
        self.chain.send("DataBatches", COMMIT + word)

    def commit_group(self, first: int, *commitments: bytes) -> None:
        packed = Group(batch_id(self.lane, first), commitments).packed
        tail = (
            uint_word(64) + uint_word(len(packed)) + packed.ljust(-(-len(packed) // 32) * 32, b"\0")
        )
        self.chain.send("DataBatches", COMMIT_MANY + uint_word(batch_id(self.lane, first)) + tail)

    @property
    def bond(self) -> int:
        data = keccak(b"bondOf(uint16)")[:4] + uint_word(self.lane)
        return int(self.chain.call("DataBatches", data)[64:128], 16)


def position_evidence(kind: Demand, dossier: Dossier, position: int) -> Evidence:
    """The answer to a demand by position."""
    if kind is Demand.REPORT:
        return Evidence([dossier.report(position)], [dossier.witness()])
    path = dossier.statistics_path(0, position)
    return Evidence([dossier.reading(position)], [dossier.witness()], path)


def core_of(chain: Chain, account: str) -> int:
    data = keccak(b"balanceOf(address)")[:4] + address_word(bytes.fromhex(account[2:]))
    return int(chain.call("CoreToken", data), 16)


def fund(chain: Chain, account: str, amount: int) -> None:
    data = keccak(b"transfer(address,uint256)")[:4]
    chain.send("CoreToken", data + address_word(bytes.fromhex(account[2:])) + uint_word(amount))


def at(times: Sequence[int], value: int = 1500) -> list[Observation]:
    return [Observation(1, CELL, time, value + n % 7) for n, time in enumerate(times)]


@contextmanager
def seconds_by_block(chain: Chain) -> Iterator[None]:
    """The chain's time passes with its blocks alone, a second each."""
    chain.rpc("anvil_setBlockTimestampInterval", 1)
    yield
    chain.rpc("anvil_removeBlockTimestampInterval")


def propose(chain: Chain, root: bytes) -> None:
    head = int(chain.rpc("eth_blockNumber"), 16)
    call = propose_call(Proposal(1, Digest26(root), head, POOL, {}))
    chain.send("CoreToken", call, PROPOSER)
