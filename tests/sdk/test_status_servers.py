"""`corechain status` of the servers behind our services, by their own words.

given real servers
  each says what it is
given a port where nobody, somebody else, or somebody silent listens
  it is down, in bounded time, with a sentence
given several parts
  the exit code says whether one of each kind works
"""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from support.command import corechain
from support.processes import eventually

from corechain import servers_asked
from corechain.devnet.network import Network
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.process import free_port
from corechain.devnet.servers import ValkeyServer
from corechain.devnet.service import probe
from corechain.servers_asked import KINDS, NotAnswering, ask, partitions_of
from corechain.status import (
    DEGRADED,
    DOWN,
    HEALTHY,
    Check,
    Places,
    _check_server,
    inspect,
    overall,
)


def test_a_postgres_takes_connections(postgres_server: PostgresServer) -> None:
    assert ask("postgres", postgres_server.port).detail == "takes connections"


def test_a_valkey_says_its_role(valkey_server: ValkeyServer) -> None:
    said = ask("valkey", valkey_server.port)
    assert said.detail.startswith("master, 0 replicas, up ")
    assert said.is_well


def test_a_broker_counts_its_partitions(kafka_address: str) -> None:
    said = ask("kafka", int(kafka_address.rpartition(":")[2]))
    assert said.detail.startswith("1 brokers, 0 of ")
    assert said.is_well


def test_a_partition_with_fewer_copies_in_time_is_counted() -> None:
    def text(words: bytes) -> bytes:
        return struct.pack(">h", len(words)) + words

    def partition(number: int, in_time: list[int]) -> bytes:
        lists = [struct.pack(f">i{len(ids)}i", len(ids), *ids) for ids in ([1, 2, 3], in_time)]
        return struct.pack(">hii", 0, number, 1) + b"".join(lists)

    brokers = b"".join(
        struct.pack(">i", n) + text(b"here") + struct.pack(">i", 9092) + struct.pack(">h", -1)
        for n in (1, 2, 3)
    )
    topic = struct.pack(">h", 0) + text(b"reports") + b"\0" + struct.pack(">i", 2)
    answer = struct.pack(">ii", 2, 3) + brokers + struct.pack(">ii", 1, 1) + topic
    answer += partition(0, [1, 2, 3]) + partition(1, [1, 2])
    assert partitions_of(answer) == (3, 2, 1)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_where_nobody_listens_it_is_said(kind: str) -> None:
    with pytest.raises(NotAnswering, match="no answer"):
        ask(kind, free_port())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_who_says_nothing_is_not_waited_for(
    kind: str, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers_asked, "LIMIT_S", 0.1)
    with pytest.raises(NotAnswering, match="no answer"):
        ask(kind, silent)


@pytest.mark.parametrize("kind", ["patroni", "etcd", "kafka", "mqtt", "postgres"])
def test_somebody_else_at_the_port_is_not_taken_for_it(
    kind: str, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Valkey waits for the rest of what it takes for a command.
    monkeypatch.setattr(servers_asked, "LIMIT_S", 0.5)
    with pytest.raises(NotAnswering):
        ask(kind, valkey_server.port)


def part(name: str, works: bool = True, lags: bool = False) -> Check:
    return Check(name, "here", works, "", lags)


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ([part("gateway-1"), part("gateway-2")], HEALTHY),
        ([part("gateway-1"), part("gateway-2", works=False)], DEGRADED),
        ([part("kafka-1", lags=True)], DEGRADED),
        ([part("gateway-1", works=False), part("gateway-2", works=False), part("node")], DOWN),
    ],
)
def test_the_exit_code_is_of_the_kinds_of_parts(checks: list[Check], code: int) -> None:
    assert overall(checks) == code
    assert all(bool(check.advice) is (check.state != "ok") for check in checks)


def test_a_part_that_drips_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, silent: int, tmp_path: Path
) -> None:
    monkeypatch.setattr("corechain.status.WHOLE_S", 0.2)
    url = f"http://127.0.0.1:{silent}"
    servers = {"kafka-1": ("kafka", silent)}
    checks = {one.part: one for one in inspect(Places(url, url, url, tmp_path, {}, servers))}
    assert checks["kafka-1"].detail == checks["relayer"].detail == "no answer within 0.2 s"


def test_a_kind_of_server_that_is_not_known_is_down() -> None:
    (found,) = _check_server("what-1", "unknown", 1)
    assert (found.state, found.detail) == ("down", "no kind of server that is known: 'unknown'")


def test_the_document_names_each_part_once_and_no_secret(network: Network) -> None:
    ports = network.ports.relayer, network.ports.indexer

    def begun() -> bool:
        answers = [json.loads(probe(port, "/ready")[1]) for port in ports]
        return not any("starting" in answer["loops"].values() for answer in answers)

    assert eventually(begun), "a service is ready before the last of its loops has begun"
    done = corechain("status", "--json", "--home", network.home)
    document = json.loads(done.stdout)
    assert (done.returncode, document["state"]) == (0, "healthy")
    names = [one["part"] for one in document["parts"]]
    roles = ["aggregator", "submitter", "watchtower"]
    assert sorted(names) == sorted(["indexer", "node", "postgres", "relayer", "valkey", *roles])
    assert all(one["state"] == "ok" and not one["advice"] for one in document["parts"])
    assert "@" not in done.stdout


class Proxy(BaseHTTPRequestHandler):
    """As deploy/nginx: everything but `/ready`."""

    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/ready" else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


def test_a_proxy_that_keeps_ready_to_itself_is_no_outage(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        checks = {check.part: check for check in inspect(Places(url, url, url, tmp_path))}
        server.shutdown()
        thread.join()
    assert checks["relayer"].works
    assert "keeps /ready to itself" in checks["relayer"].detail
