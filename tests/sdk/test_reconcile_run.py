"""Acknowledgements against data files and chain: what is lost, doubled or not committed is named.

given a log of acknowledgements, a folder of data files, and commitments on a real chain
  ├── each acknowledged report is in one committed file: it holds
  ├── one is in no file, in two files, in a file that is not committed: it is named, and where seen
  ├── a file is missing, changed, or not committed; a log is cut off: it says which
  └── what is committed later is waited for
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from corechain.account import account_from_key
from corechain.chain import Chain
from corechain.cli import app, load_plugins
from corechain.deployment import load_deployment
from corechain.devnet.fleet.acklog import ENTRY_BYTES, AckLog, Kind, LogReader
from corechain.devnet.fleet.errors import MalformedFleetFile
from corechain.devnet.fleet.keys import fleet_key
from corechain.devnet.fleet.replay import Replay
from corechain.devnet.fleet.shape import Shape
from corechain.devnet.fleet.signed_file import SignedFile, open_signed
from corechain.devnet.fleet.signing import Order, sign_file, worker_pool
from corechain.devnet.network import Network
from corechain.devnet.reconcile.command import _of_deployment
from corechain.devnet.reconcile.files import Folder, makes
from corechain.devnet.reconcile.ledger import Ledger
from corechain.devnet.reconcile.reconciler import Reconciler, Result
from corechain.devnet.reconcile.scan import scan
from corechain.devnet.settings import SUBMITTER_KEY
from corechain.protocol.batch import Batch, Origin, seal
from corechain.protocol.errors import MalformedDataFile
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.quality import State
from corechain.protocol.reading import DeviceId, unpack_reports
from corechain.steps import ApiUnavailable

NAME, SHAPE = "reconciled", Shape(6, 5, 2)
TOTAL, A_BATCH = SHAPE.total, 10
Numbers = Sequence[int]


@dataclass
class World:
    """A relayer's folder and its chain, in which a test puts what it likes."""

    chain: Chain
    folder: Path
    file: SignedFile
    batches: list[Batch] = field(default_factory=list)
    states: dict[tuple[DeviceId, int], State] = field(default_factory=dict)

    def sealed(self, numbers: Numbers) -> Batch:
        reports = [unpack_reports(bytes(self.file.body(number, 1)))[0] for number in numbers]
        deployment = self.chain.deployment
        registry = deployment.address("DeviceRegistry")
        origin = Origin(len(self.batches) + 1, ZERO26, ZERO26, deployment.chain_id, registry)
        known = [fleet_key(NAME, device).identity for device in range(SHAPE.devices)]
        return seal(origin, reports, {one.device: one for one in known}, {})

    def put(self, numbers: Numbers, *, commit: bool = True, write: bool = True) -> Batch:
        batch = self.sealed(numbers)
        self.batches.append(batch)
        if write:
            self.path(batch).write_bytes(batch.data_file)
        if commit:
            self.commit(batch)
        return batch

    def path(self, batch: Batch) -> Path:
        return self.folder / f"{batch.commitment.hex()}.ccdf"

    def commit(self, batch: Batch) -> None:
        account = account_from_key(SUBMITTER_KEY)
        number = batch.header.batch_id
        self.chain.send(account, "DataBatches", "commit", number, batch.commitment)

    def log(self, *, acknowledged: Numbers = range(TOTAL)) -> Path:
        path = self.folder / "acks"
        log = AckLog.begin(path, self.file.head)
        for number in acknowledged:
            log.add(Kind.ACKNOWLEDGED, number, 1)
        log.end()
        return path

    def reconciled(self, path: Path, checks: bool = False, wait_s: float = 0.0) -> Result:
        with worker_pool(1) as pool:
            ledgers = [Ledger(LogReader(path))]
            files = Folder(self.folder)
            reconciler = Reconciler(self.chain, files, ledgers, pool if checks else None)
            result = reconciler.run(wait_s)
            reconciler.name(20)
        return result


@pytest.fixture(scope="module")
def file(deployment: Path, tmp_path_factory: pytest.TempPathFactory) -> SignedFile:
    path = tmp_path_factory.mktemp("fleet") / "reports.ccfl"
    registry = load_deployment(deployment).address("DeviceRegistry")
    sign_file(Order(NAME, 31337, registry, Replay(SHAPE, 1_700_000_000)), path, 1)
    return open_signed(path)


@pytest.fixture
def world(
    anvil: str, deployment: Path, chain_state: None, tmp_path: Path, file: SignedFile
) -> World:
    return World(Chain(anvil, load_deployment(deployment)), tmp_path, file)


def thirds(world: World, change: Callable[[list[list[int]]], None] = lambda parts: None) -> None:
    """Three committed files with every report in one of them, changed."""
    parts = [list(range(first, first + A_BATCH)) for first in range(0, TOTAL, A_BATCH)]
    change(parts)
    for part in parts:
        world.put(part)


def sentences(result: Result) -> str:
    return "\n".join(one.sentence() for one in result.named)


@pytest.mark.parametrize("checks", [False, True], ids=["quick", "sealed again"])
def test_it_holds_when_each_acknowledged_report_is_in_one_committed_file(
    world: World, checks: bool
) -> None:
    thirds(world)
    result = world.reconciled(world.log(), checks)
    assert result.holds
    assert (result.acknowledged, result.committed, result.files) == (TOTAL, TOTAL, 3)
    assert result.readings + result.rejected.total() == TOTAL * SHAPE.observations
    assert (result.faults, result.named, result.foreign) == ([], [], 0)


def test_a_lost_report_is_named(world: World) -> None:
    thirds(world, lambda parts: parts[1].remove(13))
    result = world.reconciled(world.log())
    assert not result.holds
    assert (result.lost, result.doubled, result.committed) == (1, 0, TOTAL - 1)
    device, sequence = SHAPE.place(13)
    identity = fleet_key(NAME, device).identity.device.hex()
    assert sentences(result) == (f"lost: device 0x{identity} sequence {sequence}, seen nowhere")


def test_a_doubled_report_is_named_with_both_files(world: World) -> None:
    thirds(world, lambda parts: parts[2].append(3))
    result = world.reconciled(world.log())
    assert not result.holds
    assert (result.lost, result.doubled) == (0, 1)
    (named,) = result.named
    assert (named.what, named.device) == ("doubled", fleet_key(NAME, 3).identity.device)
    files = {world.batches[0].commitment.hex(), world.batches[2].commitment.hex()}
    assert {where.split()[1] for where in named.seen} == files


def test_a_doubled_report_is_found_also_when_its_sender_got_no_answer(world: World) -> None:
    thirds(world, lambda parts: parts[2].append(3))
    others = [number for number in range(TOTAL) if number != 3]
    assert world.reconciled(world.log(acknowledged=others)).doubled == 1


def test_a_report_in_a_file_that_is_not_committed_is_lost_and_was_seen_there(world: World) -> None:
    world.put(range(20))
    stray = world.put(range(20, TOTAL), commit=False)
    result = world.reconciled(world.log())
    assert result.lost == TOTAL - 20
    assert result.faults == [f"file {stray.commitment.hex()} is not committed"]
    assert f"seen file {stray.commitment.hex()} (not committed)" in sentences(result)


def test_a_stray_file_is_a_fault_though_nothing_is_lost(world: World) -> None:
    thirds(world)
    world.put([0], commit=False)
    result = world.reconciled(world.log())
    assert (result.lost, result.doubled) == (0, 0)
    assert not result.holds


def test_a_committed_file_that_is_not_there_is_named(world: World) -> None:
    world.put(range(20))
    missing = world.put(range(20, TOTAL), write=False)
    result = world.reconciled(world.log())
    assert result.lost == TOTAL - 20
    assert result.faults == [
        f"file {missing.commitment.hex()} (batch 2) is committed, and its file is not there"
    ]


def test_a_changed_file_is_found_when_it_is_sealed_again(world: World) -> None:
    thirds(world)
    path = world.path(world.batches[0])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # a reason of the last verdict
    path.write_bytes(content)
    assert world.reconciled(world.log()).holds, "its reports are still those of the log"
    (fault,) = world.reconciled(world.log(), checks=True).faults
    assert "does not make its commitment" in fault


@pytest.mark.parametrize("has_numpy", [True, False], ids=["numpy", "no numpy"])
def test_a_file_is_sealed_again_with_and_without_numpy(
    world: World, has_numpy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    thirds(world)
    if not has_numpy:
        monkeypatch.setitem(sys.modules, "corechain.protocol.rebuilding", None)
    files = [(batch.commitment, world.path(batch).read_bytes()) for batch in world.batches]
    assert [makes(data, commitment) for commitment, data in files] == [True, True, True]
    (first, data), (second, _), _ = files
    assert not makes(data, second)
    assert not makes(data[:-1], first)


def test_a_file_under_anothers_name_is_found(world: World) -> None:
    thirds(world)
    one, two = map(world.path, world.batches[:2])
    one.write_bytes(two.read_bytes())
    result = world.reconciled(world.log())
    assert "says that it is batch 2" in result.faults[0]
    assert (result.lost, result.doubled) == (A_BATCH, A_BATCH)


@pytest.mark.parametrize(
    "cut", [1, ENTRY_BYTES, 3 * ENTRY_BYTES + 7], ids=["a byte", "end", "more"]
)
def test_a_log_that_is_cut_off_does_not_hold(world: World, cut: int) -> None:
    thirds(world)
    path = world.log()
    path.write_bytes(path.read_bytes()[:-cut])
    result = world.reconciled(path)
    assert not result.holds
    assert result.lost == 0
    (fault,) = result.faults
    assert "cut off" in fault
    assert result.silent == result.silent_committed == TOTAL - result.acknowledged


def test_a_report_that_was_refused_and_is_there_is_counted_and_no_fault(world: World) -> None:
    """Its first answer was lost, and the second one was that it is too old to know."""
    thirds(world)
    path = world.folder / "acks"
    log = AckLog.begin(path, world.file.head)
    log.add(Kind.ACKNOWLEDGED, 0, TOTAL - 2)
    log.add(Kind.REFUSED, TOTAL - 2, 1, 0.1, "StaleSequence")
    log.add(Kind.UNANSWERED, TOTAL - 1, 1)
    log.end()
    result = world.reconciled(path)
    assert result.holds
    assert (result.refused, result.refused_committed) == (1, 1)
    assert (result.unanswered, result.unanswered_committed) == (1, 1)


def test_what_is_of_no_log_is_foreign(world: World) -> None:
    thirds(world)
    path, small = world.folder / "acks", replace(SHAPE, devices=2, reports=1)
    devices = list(world.file.head.devices[:2])
    log = AckLog.begin(path, replace(world.file.head, shape=small, devices=devices))
    log.add(Kind.ACKNOWLEDGED, 0, 2)
    log.end()
    result = world.reconciled(path)
    assert result.holds
    assert (result.committed, result.foreign) == (2, TOTAL - 2)


def test_what_is_committed_later_is_waited_for(world: World) -> None:
    world.put(range(20))
    late, told = world.put(range(20, TOTAL), commit=False), list[int]()

    def tell(seen: int) -> None:
        told.append(seen)
        if len(told) == 1:
            world.commit(late)

    ledgers = [Ledger(LogReader(world.log()))]
    result = Reconciler(world.chain, Folder(world.folder), ledgers).run(30.0, tell)
    assert result.holds
    assert told == [20, TOTAL]


class Away:
    """Files behind a gateway that is away at first."""

    def __init__(self, folder: Folder, asks: int) -> None:
        self.folder, self.asks = folder, asks

    def read(self, commitment: Digest26) -> bytes | None:
        if self.asks > 0:
            self.asks -= 1
            raise ApiUnavailable("no answer")
        return self.folder.read(commitment)

    def all(self) -> Iterator[Digest26]:
        return self.folder.all()


def test_a_gateway_that_is_away_is_waited_for_as_long_as_there_is_time(world: World) -> None:
    thirds(world)
    files, path = Folder(world.folder), world.log()
    ledgers = [Ledger(LogReader(path))]
    assert Reconciler(world.chain, Away(files, 2), ledgers).run(30.0).holds
    with pytest.raises(ApiUnavailable):
        Reconciler(world.chain, Away(files, 9), [Ledger(LogReader(path))]).run(0.0)


def test_a_log_of_another_deployment_is_refused(world: World) -> None:
    moved = replace(
        world.chain.deployment,
        contracts={
            **world.chain.deployment.contracts,
            "DeviceRegistry": world.chain.deployment.contracts["CoreToken"],
        },
    )
    with pytest.raises(MalformedFleetFile, match="another deployment"):
        _of_deployment(LogReader(world.log()), moved)


def test_a_rejection_without_a_reason_is_no_data_file(world: World) -> None:
    data = bytearray(world.sealed(range(4)).data_file)
    data[-3:] = b"\x04\0\0"
    with pytest.raises(MalformedDataFile, match="without a reason"):
        scan(bytes(data))


@pytest.mark.parametrize("cut", range(1, 700, 37))
def test_a_data_file_that_is_cut_off_is_refused(world: World, cut: int) -> None:
    with pytest.raises(MalformedDataFile):
        scan(world.sealed(range(4)).data_file[:-cut])


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_fleet_goes_through_a_network_and_nothing_is_lost(
    network: Network, tmp_path: Path
) -> None:
    """All commands as a user types them: enrol, sign, send, reconcile, by folder and by gateway."""
    load_plugins()
    home, file, plot = ("--home", network.home), tmp_path / "reports.ccfl", tmp_path / "plot.png"
    fleet = "--devices", 20, "--name", "whole network"
    assert "20 devices enrolled in 1 transactions" in run("fleet", "enrol", *fleet, *home)
    assert "in 0 transactions" in run("fleet", "enrol", *fleet, *home), "they are there already"
    run("fleet", "sign", file, "--reports", 6, "--jobs", 1, *fleet, *home)
    pace = "--rate", 2_000, "--list", 7, "--connections", 3, "--plot", plot
    run("fleet", "send", file, *pace, *home)
    assert plot.read_bytes().startswith(b"\x89PNG")
    log = file.with_name("reports.ccfl.acks")
    said = run("reconcile", log, "--wait", 60, "--quick", *home)
    assert "nothing is lost, nothing is doubled" in said
    said = run("reconcile", log, "--wait", 60, "--data-dir", network.data_dir, *home)
    assert "nothing is lost, nothing is doubled" in said
    # As a kill -9 leaves it: the gateway has taken what the log has lost, and takes it once.
    log.write_bytes(log.read_bytes()[: -4 * ENTRY_BYTES - 7])
    said = run("fleet", "send", file, *pace, "--resume", *home)
    assert re.search(r"acknowledged +│ 2\d ", said), said
    said = run("reconcile", log, "--wait", 60, "--quick", *home)
    assert "nothing is lost, nothing is doubled" in said
    assert re.search(r"acknowledged +│ 120 ", said), said


def test_a_fleet_of_secure_elements_is_taken_once_its_keys_are_published(
    network: Network, tmp_path: Path
) -> None:
    load_plugins()
    home, file = ("--home", network.home), tmp_path / "reports.ccfl"
    fleet = "--devices", 5, "--name", "secure elements", "--p256"
    assert "enrolled in 2 transactions" in run("fleet", "enrol", *fleet, *home)
    run("fleet", "sign", file, "--reports", 3, "--jobs", 1, *fleet, *home)
    said = run("fleet", "send", file, "--storm", "--list", 3, *home)
    assert re.search(r"acknowledged +│ 15 ", said), said


def test_sending_takes_exactly_one_pace(network: Network, tmp_path: Path) -> None:
    load_plugins()
    (tmp_path / "file").touch()
    for words in ([], ["--rate", "1", "--storm"], ["--ramp", "1:2"], ["--ramp", "1:0:3"]):
        done = CliRunner().invoke(app, ["fleet", "send", str(tmp_path / "file"), *words])
        assert done.exit_code == 2, done.output


def test_logs_that_acknowledge_nothing_are_not_called_whole(world: World, deployment: Path) -> None:
    places = ["--rpc-url", world.chain.rpc_url, "--deployment", str(deployment)]
    words = ["reconcile", str(world.log(acknowledged=())), "--data-dir", str(world.folder)]
    load_plugins()
    done = CliRunner().invoke(app, [*words, *places, "--quick"])
    assert done.exit_code == 3, done.output
    assert "nothing was compared" in done.output
