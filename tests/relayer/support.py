"""Devices, reports and relayer processes for the tests of this folder."""

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx
from support.asking import HTTP
from support.forked import Forked, begin, completed
from support.processes import PATIENCE_S

from corechain.deployment import Deployment, load_deployment
from corechain.protocol.eip712 import (
    activation_digest,
    address_word,
    registry_domain,
    report_digest,
    uint_word,
)
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import DeviceKey, P256Key, Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport

# Accounts 0, 1, 9 and 5 of anvil's public mnemonic: worth nothing, known to everybody.
ADMIN = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
SUBMITTER_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
BYSTANDER = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
"""Account 9: no test acts for it."""
WATCHTOWER_KEY = "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"
CELL = 0x872A1072BFFFFFF
START_S = PATIENCE_S
NEVER_SENT = itertools.count(1)
"""Amounts in wei."""
PACKED = "application/vnd.corechain.reports"


def packed_tail(content: bytes) -> bytes:
    """Dynamic bytes as the ABI has them."""
    return uint_word(len(content)) + content.ljust(-(-len(content) // 32) * 32, b"\0")


@dataclass
class Chain:
    """Transactions from accounts that anvil has unlocked."""

    url: str
    deployment: Deployment

    def rpc(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = HTTP.post(self.url, json=body).json()
        assert "error" not in answer, answer
        return answer["result"]

    def reorg(self, depth: int) -> None:
        """Other blocks in place of the newest `depth`: what was in them is gone.

        A transfer that was never in a block makes the first of them differ. Without it anvil mines
        an empty block again with the same time and, once the base fee is as low as it gets, the
        same hash: then nothing has changed.
        """
        amount = hex(next(NEVER_SENT))
        transfer = {"from": BYSTANDER, "to": BYSTANDER, "value": amount}
        self.rpc("anvil_reorg", depth, [[transfer, 0]])

    def send(self, contract: str, data: bytes, sender: str = ADMIN) -> dict[str, Any]:
        to = "0x" + self.deployment.address(contract).hex()
        call = {"from": sender, "to": to, "data": "0x" + data.hex()}
        sent = self.rpc("eth_sendTransaction", call)
        # Anvil answers once it is in the pool; the block that it makes at once may come later.
        receipt = eventually(lambda: self.rpc("eth_getTransactionReceipt", sent), pause_s=0.002)
        assert receipt["status"] == "0x1", receipt
        return dict(receipt)

    def send_later(
        self, contract: str, data: bytes, sender: str = ADMIN, bid: int | None = None
    ) -> str:
        """Into the pool as it is, though it may revert; the transaction's hash. Anvil mines first
        what bids more: without `bid` it comes behind those of relayers, who bid two base fees."""
        base = int(self.rpc("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
        fees = {"maxFeePerGas": hex(bid or base * 3 // 2), "maxPriorityFeePerGas": "0x0"}
        to = "0x" + self.deployment.address(contract).hex()
        call = {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": hex(1_000_000)} | fees
        return str(self.rpc("eth_sendTransaction", call))

    def call(self, contract: str, data: bytes) -> str:
        """The answer as hexadecimal digits."""
        to = "0x" + self.deployment.address(contract).hex()
        return str(self.rpc("eth_call", {"to": to, "data": "0x" + data.hex()}, "latest"))[2:]

    def logs(self, contract: str, topics: list[Any]) -> list[dict[str, Any]]:
        address = "0x" + self.deployment.address(contract).hex()
        query = {"address": address, "topics": topics, "fromBlock": "0x0", "toBlock": "latest"}
        return list(self.rpc("eth_getLogs", query))

    def receipt(self, transaction: str) -> dict[str, Any]:
        return dict(self.rpc("eth_getTransactionReceipt", transaction))

    def register(self, key: DeviceKey, owner: str = ADMIN) -> None:
        identity, holder = key.identity, bytes.fromhex(owner[2:])
        signature = key.sign(activation_digest(self.domain, identity.device, holder))
        public = identity.public_key or bytes(64)
        words = address_word(identity.device) + address_word(holder)
        words += uint_word(identity.key_type) + public + uint_word(192) + uint_word(64) + signature
        name = "register(address,address,uint8,bytes32,bytes32,bytes)"
        self.send("DeviceRegistry", keccak(name.encode())[:4] + words)

    def revoke(self, key: DeviceKey) -> None:
        data = keccak(b"revoke(address)")[:4] + address_word(key.identity.device)
        self.send("DeviceRegistry", data)

    def enrol(self, fleet: Fleet) -> None:
        data = keccak(b"setEnroller(address,bool)")[:4]
        admin = address_word(bytes.fromhex(ADMIN[2:]))
        self.send("DeviceRegistry", data + admin + uint_word(1))
        words = address_word(fleet.owner) + uint_word(fleet.key_type) + uint_word(96)
        data = keccak(b"enrolFleet(address,uint8,bytes)")[:4] + words + packed_tail(fleet.packed)
        self.send("DeviceRegistry", data)

    def publish_keys(self, keys: bytes) -> None:
        data = keccak(b"publishKeys(bytes)")[:4] + uint_word(32) + packed_tail(keys)
        self.send("DeviceRegistry", data)

    @property
    def domain(self) -> Any:
        address = self.deployment.address("DeviceRegistry")
        return registry_domain(self.deployment.chain_id, address)

    def commitments(self) -> dict[int, bytes]:
        """Batch id → commitment, from the events."""
        address = "0x" + self.deployment.address("DataBatches").hex()
        topic = "0x" + keccak(b"BatchCommitted(uint48,bytes26)").hex()
        query = {"address": address, "topics": [topic], "fromBlock": "0x0", "toBlock": "latest"}
        found: dict[int, bytes] = {}
        for entry in self.rpc("eth_getLogs", query):
            batch = int(entry["topics"][1], 16)
            assert batch not in found, "a batch was committed twice"
            found[batch] = bytes.fromhex(entry["data"][2:54])
        return found


@dataclass
class Sensor:
    """A device with its counter; values walk slowly, so that they pass the rules."""

    key: DeviceKey
    domain: Any
    sequence: int = 0
    clock: Iterator[int] = field(default_factory=lambda: itertools.count(int(time.time()) - 80_000))

    def report(self, count: int = 2, **changes: Any) -> SignedReport:
        items = [self.observation() for _ in range(count)]
        self.sequence += 1
        return self.sign(items, changes.get("sequence", self.sequence))

    def observation(self, **changes: Any) -> Observation:
        at = next(self.clock)
        fields = {"metric": 1, "cell": CELL, "observed_at": at, "value": 1500 + at % 7}
        return Observation(**(fields | changes))

    def sign(self, items: list[Observation], sequence: int) -> SignedReport:
        report = Report.of(self.key.identity.device, sequence, items)
        return SignedReport(report, self.key.sign(report_digest(self.domain, report)))


def secp(number: int) -> Secp256k1Key:
    return Secp256k1Key(keccak(b"test device %d" % number))


def p256(number: int) -> P256Key:
    return P256Key(keccak(b"test device %d" % number))


@dataclass
class RelayerProcess:
    """A real relayer. `start` again after `kill` is what an init system would do."""

    program: ClassVar[str] = "corechain_relayer"
    environment: Mapping[str, str]
    folder: Path
    roles: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | Forked | None" = None
    url: str = ""
    starts: int = 0

    @property
    def log_path(self) -> Path:
        return self.folder / f"relayer-{self.starts}.log"

    def start(self, ready: bool = True) -> "RelayerProcess":
        """Returns when /ready says 200: before that any request may find that a table or the node
        is not there yet. Who starts it into an outage, a halt or a standstill says `ready=False`,
        and must expect every answer to be 503 at first."""
        self.launch()
        self.url = f"http://127.0.0.1:{self._port()}"
        if ready:
            self._wait_until_ready()
        return self

    def launch(self) -> None:
        """Starts the process and waits for nothing."""
        self.starts += 1
        words = ["run", *(part for role in self.roles for part in ("--role", role))]
        environment = {"PATH": os.environ["PATH"], **self.environment}
        self.process = begin(self.program, words, environment, self.log_path)

    def events(self) -> list[dict[str, Any]]:
        """Lines of the log. The last one is only half written, perhaps: it has no end yet."""
        lines = self.log_path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line[:1] == "{" and line[-1] == "\n"]

    def _port(self) -> int:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            serving = [e for e in self.events() if e["event"] == "serving"]
            if serving:
                return int(serving[0]["port"])
            self._require_alive()
            time.sleep(0.02)
        raise AssertionError(f"not serving: {self.log_path.read_text()}")

    def _wait_until_ready(self) -> None:
        answer = None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self._require_alive()
            with suppress(httpx.TransportError):
                answer = self.get("/ready")
                if answer.status_code == 200:
                    return
            time.sleep(0.02)
        said = answer and answer.text
        raise AssertionError(f"not ready: {said}\n{self.log_path.read_text()}")

    def _require_alive(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self.log_path.read_text()

    def command(self, name: str) -> str:
        """What another command of the relayer prints under the same settings."""
        environment = {"PATH": os.environ["PATH"], **self.environment}
        done = completed("corechain_relayer", [name], environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill(self) -> None:
        """kill -9: no chance to tidy up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def send(self, *reports: SignedReport) -> httpx.Response:
        body = b"".join(report.pack() for report in reports)
        return self.post(body, PACKED)

    def post(self, body: bytes, media_type: str = "application/json") -> httpx.Response:
        headers = {"content-type": media_type}
        return HTTP.post(f"{self.url}/v1/reports", content=body, headers=headers)

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return HTTP.get(self.url + path, headers=headers)

    def is_ready(self) -> bool:
        """the relayer is ready: tables made, node, bus and journal there"""
        return self.get("/ready").status_code == 200

    def reason(self, name: str) -> str:
        """Why something is failing, as /ready says; empty while it is not."""
        return str(self.get("/ready").json().get("reasons", {}).get(name, ""))

    def counter(self, name: str, reason: str) -> float:
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(f'{name}{{reason="{reason}"}}'):
                return float(line.rpartition(" ")[2])
        return 0.0


def settings_for(
    anvil: str, deployment: Path, bus_url: str, database: str, folder: Path, stream: str
) -> dict[str, str]:
    """An environment in which a relayer runs: small batches, so that tests need not wait."""
    return {
        "RELAYER_RPC_URL": anvil,
        "RELAYER_DEPLOYMENT": str(deployment),
        "RELAYER_BUS_URL": bus_url,
        "RELAYER_BUS_STREAM": stream,
        "RELAYER_DATABASE_URL": database,
        "RELAYER_DATA_DIR": str(folder / "data"),
        "RELAYER_SUBMITTER_KEY": SUBMITTER_KEY,
        "RELAYER_HTTP_PORT": "0",
        "RELAYER_MAX_AGE_S": "0.3",
        "RELAYER_MAX_READINGS": "40",
        "RELAYER_POLL_S": "0.1",
    }


def load(path: Path) -> Deployment:
    return load_deployment(path)


def eventually(check: Any, timeout_s: float = PATIENCE_S, pause_s: float = 0.05) -> Any:
    """The first truthy answer of `check`; fails when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answer = check()
        if answer:
            return answer
        time.sleep(pause_s)
    raise AssertionError(f"still not so after {timeout_s} s: {check.__doc__ or check}")
