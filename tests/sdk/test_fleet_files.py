"""A fleet's files: who sends what when, the signed reports, the log of acknowledgements."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from corechain.cli import app, load_plugins
from corechain.devnet.errors import DirectoryUnusable
from corechain.devnet.fleet.acklog import ENTRY_BYTES, AckLog, Kind, LogReader
from corechain.devnet.fleet.errors import ImpossibleFleet, MalformedFleetFile
from corechain.devnet.fleet.head import Head
from corechain.devnet.fleet.keys import enrolments, fleet_key
from corechain.devnet.fleet.latency import Latencies
from corechain.devnet.fleet.pace import Ramp, Steady, Storm
from corechain.devnet.fleet.replay import HOUR_S, Replay, longest_hours
from corechain.devnet.fleet.shape import Shape
from corechain.devnet.fleet.signed_file import open_signed
from corechain.devnet.fleet.signing import Order, sign_file, tasks_of
from corechain.devnet.network import Network
from corechain.held_files import FileInUse, held
from corechain.output_files import writable
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.keys import KeyType, verify
from corechain.protocol.quality import State, judge_report
from corechain.protocol.reading import FAIL, DeviceId, Report, unpack_reports

REGISTRY = bytes(range(20))
CHAIN = 31337
START = 1_700_000_000
shapes = st.builds(
    Shape,
    devices=st.integers(1, 40),
    reports=st.integers(1, 40),
    observations=st.integers(1, 4),
    first_sequence=st.integers(0, 2**40),
    by_device=st.booleans(),
)


@given(shapes)
def test_every_report_of_a_fleet_has_one_number_and_is_signed_by_one_task(shape: Shape) -> None:
    places = [shape.place(number) for number in range(shape.total)]
    assert [shape.number(*place) for place in places] == list(range(shape.total))
    signed = [
        (device, shape.first_sequence + turn)
        for task in tasks_of(shape)
        for device, turn in itertools.product(task.devices, task.turns)
    ]
    assert sorted(signed) == sorted(places)
    assert shape.number(0, shape.first_sequence + shape.reports) is None
    assert shape.number(0, shape.first_sequence - 1) is None


@pytest.mark.parametrize(
    "wrong",
    [{"devices": 0}, {"reports": 0}, {"observations": 1025}, {"first_sequence": -1}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_fleet_that_cannot_be_is_refused_by_the_name_of_its_fault(wrong: dict[str, int]) -> None:
    with pytest.raises(ImpossibleFleet, match=next(iter(wrong))):
        Shape(**{"devices": 1, "reports": 1, **wrong})


@pytest.mark.parametrize("by_device", [False, True], ids=["in turn", "backlog"])
@pytest.mark.parametrize("key_type", list(KeyType), ids=lambda kind: kind.name)
def test_a_signed_file_holds_what_each_device_signed_in_its_place(
    tmp_path: Path, by_device: bool, key_type: KeyType
) -> None:
    shape = Shape(7, 5, 3, 11, by_device)
    path = tmp_path / "reports.ccfl"
    done: list[int] = []
    order = Order("tests", CHAIN, REGISTRY, Replay(shape, START), key_type)
    sign_file(order, path, 1, done.append)
    assert sum(done) == shape.total

    signed = open_signed(path)
    reports = unpack_reports(bytes(signed.body(0, shape.total)))
    domain = registry_domain(CHAIN, REGISTRY)
    for number, report in enumerate(reports):
        device, sequence = shape.place(number)
        identity = fleet_key("tests", device, key_type).identity
        assert (report.report.device, report.report.sequence) == (identity.device, sequence)
        assert signed.head.devices[device] == identity.device
        verify(identity, report_digest(domain, report.report), report.signature)


def test_several_processes_write_the_same_file_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order("tests", CHAIN, REGISTRY, Replay(Shape(90, 2), START))
    monkeypatch.setattr("corechain.devnet.fleet.signing.TASK_REPORTS", 16)
    alone, together = tmp_path / "alone", tmp_path / "together"
    with held(alone.with_name(alone.name + ".part")), pytest.raises(FileInUse):
        sign_file(order, alone, 1)  # another run is at it
    sign_file(order, alone, 1)
    sign_file(order, together, 2)
    assert alone.read_bytes() == together.read_bytes()


def test_a_file_whose_signing_was_interrupted_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reports.ccfl"
    sign_file(Order("tests", CHAIN, REGISTRY, Replay(Shape(3, 2), START)), path, 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MalformedFleetFile, match="bytes, not"):
        open_signed(path)


@pytest.mark.parametrize("observations", [1, 20])
def test_what_devices_observe_passes_the_quality_rules_and_ends_in_time(observations: int) -> None:
    """Real weather with noise on it: hardly anything is rejected, and never for its order."""
    shape = Shape(12, 30, observations)
    replay, rejected = Replay(shape, START), 0
    end = START + longest_hours(shape.reports * observations) * HOUR_S
    for device in range(shape.devices):
        states: dict[tuple[DeviceId, int], State] = {}
        for turn in range(shape.reports):
            items = replay.observations(device, turn)
            assert all(START <= item.observed_at <= end for item in items)
            report = Report.of(DeviceId(bytes([device]) * 20), turn, items)
            rejected += sum(verdict.flag == FAIL for verdict in judge_report(report, states))
    assert rejected < shape.total * observations / 100


def head_of(shape: Shape) -> Head:
    devices = [DeviceId(number.to_bytes(20, "big")) for number in range(1, shape.devices + 1)]
    return Head(CHAIN, REGISTRY, KeyType.SECP256K1, shape, devices)


def written(path: Path) -> Path:
    log = AckLog.begin(path, head_of(Shape(10, 10)))
    log.add(Kind.ACKNOWLEDGED, 0, 50, 0.25)
    log.add(Kind.REFUSED, 50, 2, 0.5, "RevokedDevice")
    log.add(Kind.UNANSWERED, 52, 3)
    log.end()
    return path


def test_a_log_gives_back_what_was_answered(tmp_path: Path) -> None:
    reader = LogReader(written(tmp_path / "acks"))
    entries = [(entry.kind, entry.first, entry.count, entry.reason) for entry in reader.entries()]
    assert entries == [
        (Kind.ACKNOWLEDGED, 0, 50, ""),
        (Kind.REFUSED, 50, 2, "RevokedDevice"),
        (Kind.UNANSWERED, 52, 3, ""),
    ]
    assert reader.whole
    assert reader.fault == ""
    assert reader.head == head_of(Shape(10, 10))


@pytest.mark.parametrize("cut", range(1, 4 * ENTRY_BYTES + 1, 13))
def test_a_log_that_was_cut_off_says_so_wherever_it_was_cut(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path / "acks")
    path.write_bytes(path.read_bytes()[:-cut])
    reader = LogReader(path)
    assert len(list(reader.entries())) <= 3
    assert not reader.whole
    assert "cut off" in reader.fault


def test_a_log_with_a_changed_byte_is_believed_up_to_it(tmp_path: Path) -> None:
    path = written(tmp_path / "acks")
    content = bytearray(path.read_bytes())
    content[-3 * ENTRY_BYTES] ^= 1
    path.write_bytes(content)
    reader = LogReader(path)
    assert [entry.kind for entry in reader.entries()] == [Kind.ACKNOWLEDGED]
    assert "damaged" in reader.fault
    assert not reader.whole


@pytest.mark.parametrize("content", [b"", b"CCAK", b"nothing of the kind", b"CCAK\0\1\0\0\0\2{}"])
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "acks").write_bytes(content)
    with pytest.raises(MalformedFleetFile):
        LogReader(tmp_path / "acks")


def test_fleets_take_4096_devices_each() -> None:
    devices = [DeviceId((number + 1).to_bytes(20, "big")) for number in range(9_000)]
    fleets = enrolments(bytes(range(1, 21)), KeyType.SECP256K1, devices)
    assert [len(fleet.devices) for fleet in fleets] == [4096, 4096, 808]
    assert sorted(device for fleet in fleets for device in fleet.devices) == devices


@given(st.floats(0, 1e4), st.floats(0.1, 1e4), st.floats(0.1, 1e3))
def test_a_ramp_goes_from_one_rate_to_the_other_and_never_back(
    first: float, last: float, over_s: float
) -> None:
    ramp = Ramp(first, last, over_s)
    due = [ramp.due_s(number) for number in range(200)]
    assert due == sorted(due)
    whole = int((first + last) / 2 * over_s)
    assert ramp.due_s(whole) <= over_s * (1 + 1e-6)
    assert ramp.due_s(whole + 2) >= over_s * (1 - 1e-6)


def test_a_steady_pace_is_even_and_a_storm_is_at_once() -> None:
    assert [Steady(4.0).due_s(number) for number in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert {Storm().due_s(number) for number in range(9)} == {0.0}


@given(st.lists(st.floats(1e-4, 100), min_size=1, max_size=200), st.sampled_from([50, 95, 99]))
def test_a_percentile_is_at_most_two_percent_above_the_exact_one(
    durations: list[float], percent: int
) -> None:
    latencies = Latencies()
    for duration in durations:
        latencies.add(duration)
    rank = -(-percent * len(durations) // 100)
    exact = sorted(durations)[rank - 1]
    assert exact * (1 - 1e-9) <= latencies.percentile(percent) <= exact * 1.0201
    assert latencies.longest_s == max(durations)


@pytest.mark.parametrize(
    "words",
    [
        *(
            ["fleet", "send", "IN", "--storm", option]
            for option in ("--log", "--plot", "--summary")
        ),
        ["reconcile", "IN", "--summary"],
        ["fleet", "sign"],
    ],
    ids=lambda words: " ".join(words),
)
def test_where_a_result_cannot_be_written_nothing_begins(words: list[str], tmp_path: Path) -> None:
    """What an hour's run leads to is not lost to a mistyped folder."""
    load_plugins()
    file = tmp_path / "file"
    file.touch()
    given_words = [str(file) if word == "IN" else word for word in words]
    for target in (tmp_path, tmp_path / "no folder" / "result", file / "result"):
        done = CliRunner().invoke(app, [*given_words, str(target)])
        assert done.exit_code == 2, done.output
        assert "folder" in done.output
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_is_writable_where_its_folder_is(tmp_path: Path) -> None:
    assert writable(tmp_path / "new") == tmp_path / "new"
    assert writable(None) is None
    assert writable(Path("here.png")) == Path("here.png")


@pytest.mark.parametrize(
    "words",
    [
        ["fleet", "send", "--storm", "DIR"],
        ["reconcile", "DIR"],
        ["reconcile", "IN", "--data-dir", "IN"],
    ],
    ids=lambda words: " ".join(words),
)
def test_a_folder_is_no_file_and_a_file_is_no_folder(words: list[str], tmp_path: Path) -> None:
    load_plugins()
    file = tmp_path / "file"
    file.touch()
    places = {"DIR": str(tmp_path), "IN": str(file)}
    done = CliRunner().invoke(app, [places.get(word, word) for word in words])
    assert done.exit_code == 2, done.output
    assert "Invalid value" in done.output


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    cases = {file: "it is not a folder", file / "x": "Not a directory", Path("/proc/x"): "No such"}
    for home, why in cases.items():
        with pytest.raises(DirectoryUnusable, match=f"{home} cannot be used: {why}"):
            Network(home).start()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("by_device", [False, True])
def test_runs_share_a_device_when_a_report_of_each_is_its_own(by_device: bool) -> None:
    shape = Shape(4, 3, by_device=by_device)
    runs = [(at, size) for at in range(0, 12, 2) for size in range(1, 13 - at)]
    for one, other in itertools.product(runs, runs):
        mine, its = ({shape.place(n)[0] for n in range(at, at + size)} for at, size in (one, other))
        assert shape.share_devices(one, other) == bool(mine & its), (one, other)
