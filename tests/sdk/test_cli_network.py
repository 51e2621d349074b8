"""`corechain status`, `verify` and `up` against a whole network of real processes."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import psutil
import pytest
from support.command import COMMAND, corechain, environment
from support.processes import PATIENCE_S, eventually, family, mentioning, survivors
from support.readings import HOUR_S, NOON, client_of, commit, temperatures

from corechain.account import account_from_key
from corechain.audit import audit_batch, check_devices, check_origin
from corechain.chain import Chain
from corechain.devnet.network import Network
from corechain.devnet.promises import LocalChain
from corechain.devnet.settings import RECEIPT_KEY, Ports
from corechain.protocol.batch import open_data_file, seal
from corechain.protocol.errors import (
    InvalidProof,
    MalformedDataFile,
    UnknownBatch,
    UnknownDevice,
    WrongChain,
)
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key

UP_LIMIT_S = 2 * PATIENCE_S
UP = "contracts /"
FEW = "--one-process", "--no-challenger"


def test_status_of_a_running_network_is_all_ok(network: Network) -> None:
    # Who asks in the moment in which it came up is told that its loops are starting.
    assert eventually(lambda: corechain("status", "--home", network.home).returncode == 0)
    done = corechain("status", "--home", network.home)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.count(" ok ") == 8
    assert re.search(r"head [1-9]", done.stdout)
    assert "ready" in done.stdout


def test_status_names_the_part_that_is_down(network: Network, tmp_path: Path) -> None:
    changes = {"CORECHAIN_API_URL": f"http://127.0.0.1:{Ports.free().indexer}"}
    done = corechain("status", "--home", network.home, changes=changes)
    assert done.returncode == 2, "there is no other indexer"
    (line,) = [line for line in done.stdout.splitlines() if "down" in line]
    assert "indexer" in line


def test_a_client_of_a_running_network_gets_receipts_that_a_bond_stands_behind(
    network: Network, tmp_path: Path
) -> None:
    # Nothing is promised on a lane that never had a batch, nor for a device that is not final.
    commit(network, "receipted", [1.5])
    LocalChain(network.urls.anvil, network.deployment).settle()
    key, sequences, file = Secp256k1Key(keccak(b"receipted")), count(2), tmp_path / "receipt"
    with client_of(network) as client:

        def is_kept() -> bool:
            sequence = next(sequences)
            observed = temperatures([2.5], NOON + sequence * HOUR_S)
            report = client.sign_report(key, sequence, observed)
            (delivery,) = client.send_reports([report], receipts=True)
            if delivery.receipt is not None:
                delivery.receipt.save(file)
            return delivery.receipt is not None

        assert eventually(is_kept), network.check()
        # All are in batches by now: none of them is left to be in the next test's.
        sent = next(sequences) - 1
        device = key.identity.device
        assert eventually(lambda: len(client.readings(device=device, limit=1000)) == sent)
    done = corechain("receipt", "check", file, "--home", network.home)
    assert (done.returncode, done.stderr) == (0, "")
    assert account_from_key(RECEIPT_KEY).address.lower() in done.stdout


def test_verify_rebuilds_a_batch_and_shows_what_is_in_it(network: Network) -> None:
    batch = commit(network, "verified", [1.5, 2.5, 3.5])
    done = corechain("verify", str(batch), "--home", network.home)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"batch {batch} (lane 0, number {batch})" in done.stdout
    assert "2013-02-01 12:00:00Z … 2013-02-01 14:00:00Z" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if "air_temperature" in line]
    assert re.findall(r"[\w.]+", row) == [
        "air_temperature",
        "Cel",
        "3",
        "0",
        "0",
        "2.50",
        "1.5",
        "3.5",
    ]


def test_verify_counts_what_the_rules_refused(network: Network) -> None:
    batch = commit(network, "with a spike", [5.0, 5.5, 400.0])
    with client_of(network) as client:
        audit = audit_batch(client.chain, network.urls.relayer, batch)
    (totals,) = audit.totals()
    assert (totals.accepted, totals.suspect, totals.failed) == (2, 0, 1)
    assert dict(audit.facts())["rejected"] == "1"


def test_verify_of_a_batch_that_nobody_committed_is_refused(network: Network) -> None:
    done = corechain("verify", "4000", "--home", network.home)
    assert done.returncode == 1
    assert done.stderr == "error: batch 4000 was not committed\n"
    with client_of(network) as client, pytest.raises(UnknownBatch):
        audit_batch(client.chain, network.urls.relayer, 4000)


@contextmanager
def tampered(network: Network, batch: int, content: bytes) -> Iterator[None]:
    """The gateway serves other bytes in place of a batch's data file."""
    with client_of(network) as client:
        file = network.data_dir / f"{client.chain.commitment_of(batch).hex()}.ccdf"
    before = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.unlink()
        file.write_bytes(before)


def data_file(network: Network, batch: int) -> bytes:
    with client_of(network) as client:
        return audit_batch(client.chain, network.urls.relayer, batch).batch.data_file


def test_verify_refuses_a_data_file_with_a_changed_byte(network: Network) -> None:
    batch = commit(network, "changed", [7.0, 8.0])
    original = data_file(network, batch)
    changed = original[:-1] + bytes([original[-1] ^ 1])
    with (
        tampered(network, batch, changed),
        client_of(network) as client,
        pytest.raises(MalformedDataFile),
    ):
        audit_batch(client.chain, network.urls.relayer, batch)


def test_verify_refuses_the_honest_file_of_another_batch(network: Network) -> None:
    one, two = commit(network, "one", [1.0]), commit(network, "two", [2.0])
    with tampered(network, one, data_file(network, two)):
        done = corechain("verify", str(one), "--home", network.home)
        with client_of(network) as client, pytest.raises(InvalidProof):
            audit_batch(client.chain, network.urls.relayer, one)
    assert done.returncode == 1
    assert re.fullmatch(r"error: the data file makes 0x\w+, the chain has 0x\w+\n", done.stderr)


def test_a_batch_of_another_registry_is_not_of_this_deployment(network: Network) -> None:
    batch = commit(network, "elsewhere", [3.0])
    contracts = network.deployment.contracts
    moved = {**contracts, "DeviceRegistry": contracts["CoreToken"]}
    chain = Chain(network.urls.anvil, replace(network.deployment, contracts=moved))
    with pytest.raises(WrongChain, match="another registry"):
        audit_batch(chain, network.urls.relayer, batch)


def test_an_honest_file_under_the_id_of_another_batch_is_refused(network: Network) -> None:
    batch = commit(network, "misplaced", [3.0])
    _, origin = open_data_file(data_file(network, batch))
    check_origin(network.deployment, origin, batch)
    with pytest.raises(MalformedDataFile, match=f"batch {batch}, committed as {batch + 1}"):
        check_origin(network.deployment, origin, batch + 1)


def test_a_device_that_nobody_registered_makes_a_batch_worthless(network: Network) -> None:
    batch = commit(network, "registered", [3.0])
    opened, origin = open_data_file(data_file(network, batch))
    stranger = Secp256k1Key(keccak(b"a stranger"))
    with client_of(network) as client:
        report = client.sign_report(stranger, 1, temperatures([4.0]))
        known = {stranger.identity.device: stranger.identity}
        check_devices(client.chain, opened)
        with pytest.raises(UnknownDevice):
            check_devices(client.chain, seal(origin, [report], known, {}))


@dataclass
class Up:
    """A `corechain up` of a test's own."""

    process: "subprocess.Popen[str]"
    home: Path
    said: list[str]

    def pid_of(self, name: str) -> int:
        row = next(line for line in self.said if re.search(rf"│ {name} ", line))
        return int(re.findall(r"\d+", row)[-1])

    def read_until(self, sign: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if sign in line:
                return
        raise AssertionError("".join(self.said))

    def rest(self) -> tuple[int, str]:
        """Its exit code and what it says until then."""
        output, _ = self.process.communicate(timeout=UP_LIMIT_S)
        return self.process.returncode, output


@pytest.fixture(scope="module")
def used_home(deployed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with deployed contracts: a start there is quick."""
    return shutil.copytree(deployed_home, tmp_path_factory.mktemp("up") / "home")


def port_options() -> list[str]:
    ports = Ports.free()
    return [f"--{name}-port={getattr(ports, name)}" for name in Ports.__dataclass_fields__]


@contextmanager
def going_up(home: Path, ports: Sequence[str]) -> Iterator[Up]:
    """A `corechain up` that is killed at the end. Mostly with the relayer in one process: four take
    seconds more."""
    command = [*COMMAND, "up", f"--home={home}", *ports]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    ) as process:
        try:
            yield Up(process, home, [])
        finally:
            process.kill()


@pytest.fixture
def up(used_home: Path) -> Iterator[Up]:
    with going_up(used_home, [*port_options(), *FEW]) as running:
        running.read_until(UP)
        yield running


def test_ctrl_c_stops_everything_in_reverse_order_and_another_one_changes_nothing(up: Up) -> None:
    members = family(up.process.pid)
    assert len(members) > 6
    up.process.send_signal(signal.SIGINT)
    up.read_until("stopping indexer")
    for _ in range(2):
        up.process.send_signal(signal.SIGINT)
        eventually(lambda: False, within_s=0.05)
    code, output = up.rest()
    assert code == 0, output
    assert re.findall(r"stopping (\w+)", output) == ["relayer", "anvil", "valkey", "postgres"]
    assert survivors(members) == []


def test_the_relayer_runs_in_parts_that_stop_in_reverse_order(used_home: Path) -> None:
    """The default: each with its own address and log, all asked by `corechain status`."""
    with going_up(used_home, port_options()) as running:
        running.read_until(UP)
        parts = ["guard", "submitter", "aggregator", "gateway"]
        assert len({running.pid_of(name) for name in [*parts, "challenger"]}) == 5
        assert all((used_home / name / f"{name}.log").exists() for name in parts)
        # The watchtower shares the gateway's process, which is ready before it has begun to watch.
        assert eventually(lambda: corechain("status", "--home", used_home).returncode == 0)
        status = corechain("status", "--home", used_home)
        assert (status.returncode, status.stdout.count(" ok ")) == (0, 10), status.stdout
        assert "challenger" in status.stdout
        assert "watchtower" in status.stdout, "it shares the gateway's process"
        running.process.send_signal(signal.SIGTERM)
        code, output = running.rest()
    assert code == 0, output
    stopped = re.findall(r"stopping (\w+)", output)
    assert stopped == ["challenger", "indexer", *reversed(parts), "anvil", "valkey", "postgres"]
    assert mentioning(used_home) == []


def test_a_service_that_dies_ends_the_network_with_its_log(up: Up) -> None:
    members = family(up.process.pid)
    os.kill(up.pid_of("indexer"), signal.SIGKILL)
    code, output = up.rest()
    assert code == 1
    assert "error: indexer ended with exit code -9" in output
    assert "end of its log" in output
    assert "Traceback" not in output
    assert survivors(members) == []


def test_a_killed_network_leaves_nothing_and_can_be_started_again_at_once(
    used_home: Path,
) -> None:
    ports = [*port_options(), *FEW]
    with going_up(used_home, ports) as killed:
        killed.read_until(UP)
        members = psutil.Process(killed.process.pid).children(recursive=True)
    with going_up(used_home, ports) as again:
        again.read_until(UP)
        assert survivors(members) == []
        assert any("deployed already" in line for line in again.said)
        members = family(again.process.pid)
        again.process.send_signal(signal.SIGTERM)
        code, output = again.rest()
    assert code == 0, output
    stopped = re.findall(r"stopping (\w+)", output)
    assert stopped == ["indexer", "relayer", "anvil", "valkey", "postgres"]
    assert survivors(members) == []


def test_ctrl_c_during_the_start_leaves_nothing_behind(used_home: Path) -> None:
    with going_up(used_home, port_options()) as starting:
        starting.read_until("starting aggregator")
        starting.process.send_signal(signal.SIGTERM)
        code, output = starting.rest()
    assert code == 0, output
    assert "is up" not in output
    assert mentioning(used_home) == []


def test_without_services_the_servers_and_contracts_are_up_alone(used_home: Path) -> None:
    with going_up(used_home, [*port_options(), "--no-services"]) as running:
        running.read_until(UP)
        assert running.pid_of("anvil") > 1
        running.process.send_signal(signal.SIGTERM)
        code, output = running.rest()
    assert code == 0, output
    assert re.findall(r"stopping (\w+)", output) == ["anvil", "valkey", "postgres"]


def test_a_taken_port_is_named_with_the_option_that_changes_it(
    network: Network, used_home: Path
) -> None:
    taken = network.ports.valkey
    with going_up(used_home, [*port_options(), f"--valkey-port={taken}"]) as refused:
        code, output = refused.rest()
    assert code == 1
    assert f"error: port {taken} for valkey is taken by another process" in output
    assert "--valkey-port" in output
    assert mentioning(used_home) == []
