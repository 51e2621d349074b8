"""NGINX, by the configuration of deploy/nginx, before two gateways and two query APIs.

given clients that send reports and ask, each over one kept connection, by TLS
  when a gateway and an API are killed (-9) under them
    ├── no question and no report fails: both may be tried again at the other one
    └── who was acknowledged is: the same report again is a replay
given NGINX alone
  ├── a client is counted by its own address, whatever it says of itself
  ├── what NGINX refuses by itself is a problem document: too much, too large, nobody there
  ├── a POST that may have been done is not done twice; one that nobody took goes to the other
  └── metrics and readiness are not for the public; a WebSocket passes
"""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.http import Script, answers
from support.processes import PATIENCE_S
from websockets.sync.client import connect as websocket

from corechain.devnet.nginx import Behind, NginxServer
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.process import free_port
from corechain.devnet.service import Service
from relayer.support import PACKED, Chain, Sensor, eventually, secp

INDEX = "index_behind_nginx"
ENOUGH = 30
"""Answers of each kind of client before and after the kill."""
TRIED_AGAIN = "ReplayedSequence"
"""What the second try of a report is told when the first had been taken: no failure."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key and its certificate for this machine."""
    folder, key = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(address, critical=True).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "fullchain.pem").write_bytes(signed.public_bytes(pem))
    pkcs8 = serialization.PrivateFormat.PKCS8
    (folder / "privkey.pem").write_bytes(key.private_bytes(pem, pkcs8, plain))
    return folder


@dataclass
class Client:
    """Asks again and again over one kept connection. What is no answer is a failure."""

    connect: Callable[[], http.client.HTTPConnection]
    request: Callable[[], tuple[str, str, bytes | None]]
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        connection = self.connect()
        while not self.stop.is_set():
            method, path, body = self.request()
            try:
                connection.request(method, path, body, {"content-type": PACKED})
                response = connection.getresponse()
                said = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.failed.append(repr(error))
                continue
            if response.status in (200, 202) or TRIED_AGAIN.encode() in said:
                self.answered += 1
            else:
                self.failed.append(f"{response.status} {said[:200]!r}")
        connection.close()


@contextmanager
def asking(clients: list[Client]) -> Iterator[None]:
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for client in clients:
            client.stop.set()
        for thread in threads:
            thread.join()


def all_go_on(clients: list[Client]) -> None:
    """Each of them gets so many answers more, or has failed."""
    wanted = {id(client): client.answered + ENOUGH for client in clients}
    eventually(lambda: all(c.failed or c.answered >= wanted[id(c)] for c in clients))


def process(number: int, role: str, folder: Path, settings: dict[str, str]) -> Service:
    service, port = ("relayer" if role == "gateway" else "indexer"), free_port()
    own = {**settings, f"{service.upper()}_HTTP_PORT": str(port)}
    name = f"{role}-{number}"
    return Service(name, folder / name, port, [service, "run", "--role", role], own)


@pytest.fixture
def services(
    environment: dict[str, str], postgres_server: PostgresServer, bus_url: str, tmp_path: Path
) -> Iterator[dict[str, list[Service]]]:
    """Two of each, that share their servers."""
    indexer = {
        "INDEXER_RPC_URL": environment["RELAYER_RPC_URL"],
        "INDEXER_DEPLOYMENT": environment["RELAYER_DEPLOYMENT"],
        "INDEXER_DATABASE_URL": postgres_server.create_database(INDEX),
        "INDEXER_REDIS_URL": bus_url.removesuffix("/0") + "/1",
        "INDEXER_DATA_URLS": f"file://{tmp_path}/data/{{commitment}}.ccdf",
        "INDEXER_ANONYMOUS_PER_DAY": "100000",
    }
    found = {
        "gateway": [process(number, "gateway", tmp_path, environment) for number in (1, 2)],
        "api": [process(number, "api", tmp_path, indexer) for number in (1, 2)],
    }
    with ExitStack() as stack:
        for service in (*found["gateway"], *found["api"]):
            stack.callback(service.kill)
            service.begin()
        for service in (*found["gateway"], *found["api"]):
            service.complete()
        yield found
    postgres_server.drop_database(INDEX)


def test_a_backend_that_is_killed_fails_no_request(
    services: dict[str, list[Service]], certificate: Path, chain: Chain, tmp_path: Path
) -> None:
    ports = {role: [service.port for service in found] for role, found in services.items()}
    behind = Behind(ports["gateway"], ports["api"], certificate)
    trusted = ssl.create_default_context(cafile=str(certificate / "fullchain.pem"))

    def to(port: int, source: str = "127.0.0.1") -> http.client.HTTPSConnection:
        place = {"timeout": PATIENCE_S, "source_address": (source, 0), "context": trusted}
        return http.client.HTTPSConnection("127.0.0.1", port, **place)  # type: ignore[arg-type]

    sensors = [Sensor(secp(number), chain.domain) for number in range(1, 4)]
    for sensor in sensors:
        chain.register(sensor.key)
    with NginxServer(tmp_path / "nginx", behind) as nginx:
        paths = "/v1/batches", "/v1/devices", "/v1/status"
        asks = [
            Client(lambda: to(nginx.api_port), lambda path=path: ("GET", path, None))  # type: ignore[misc]
            for path in paths
        ]
        sends = [
            Client(
                lambda: to(nginx.port),
                lambda sensor=sensor: ("POST", "/v1/reports", sensor.report().pack()),  # type: ignore[misc]
            )
            for sensor in sensors
        ]
        eventually(lambda: _knows(to(nginx.port), sensors))
        with asking([*asks, *sends]):
            all_go_on([*asks, *sends])
            for role in ("gateway", "api"):
                services[role][0].kill()
            all_go_on([*asks, *sends])
        assert [client.failed for client in (*asks, *sends)] == [[]] * 6
        for source in ("127.0.0.2", "127.0.0.3"):
            left = _remaining(to(nginx.api_port, source), f"{source}, 127.0.0.1")
            assert left == 99_999, "each address has its own day, and believes nobody's word"


def _knows(connection: http.client.HTTPConnection, sensors: list[Sensor]) -> bool:
    """Whether the gateways have seen that the devices are registered: each is asked."""
    headers = {"content-type": PACKED}
    with closing(connection):
        for sensor in sensors * 4:
            connection.request("POST", "/v1/reports", sensor.report().pack(), headers)
            response = connection.getresponse()
            response.read()
            if response.status != 202:
                return False
        return True


def _remaining(connection: http.client.HTTPConnection, says: str) -> int:
    with closing(connection):
        connection.request("GET", "/v1/batches", headers={"x-forwarded-for": says})
        response = connection.getresponse()
        response.read()
    states = response.getheader("ratelimit") or ""
    return int(states.rpartition("r=")[2].partition(";")[0])


@contextmanager
def nginx_before(
    folder: Path, gateways: list[int], apis: list[int], **limits: str
) -> Iterator[NginxServer]:
    with NginxServer(folder / "nginx", Behind(gateways, apis, limits=limits)) as running:
        yield running


def said(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request(method, path, body)
    response = connection.getresponse()
    text, kind = response.read(), response.getheader("content-type") or ""
    connection.close()
    parsed = json.loads(text) if "json" in kind else text
    return response.status, parsed, kind


def test_what_nginx_refuses_is_a_problem_document(tmp_path: Path) -> None:
    gone = free_port()
    with answers(Script(200, b"{}")) as url:
        port = int(url.rpartition(":")[2])
        limits = {"API_PER_SECOND": "1", "API_BURST": "1", "MAX_BODY": "1k"}
        with nginx_before(tmp_path, [gone], [port], **limits) as nginx:
            found = {
                "BodyTooLarge": said(nginx.port, "POST", "/v1/reports", bytes(2_000)),
                "Unavailable": said(nginx.port, "GET", "/v1/batches/1"),
                "TooManyRequests": [said(nginx.api_port, "GET", "/v1/status") for _ in "1234"][-1],
            }
            for name, status in (("BodyTooLarge", 413), ("Unavailable", 503),
                                 ("TooManyRequests", 429)):  # fmt: skip
                assert found[name][0] == found[name][1]["status"] == status
                assert found[name][1]["type"] == f"urn:corechain:error:{name}"
                assert found[name][2] == "application/problem+json"
            for path in ("/metrics", "/ready"):
                assert said(nginx.port, "GET", path)[0] == 404


def test_only_what_may_be_done_twice_is_tried_twice(tmp_path: Path) -> None:
    """The first backend takes every request and ends without an answer."""
    with answers(Script(200, b"{}")) as good, _hanging_up() as mute:
        whole = int(good.rpartition(":")[2])
        with nginx_before(tmp_path, [mute.port, whole], [whole]) as nginx:
            for method, path, status in (
                ("GET", "/v1/batches/1", 200),
                ("POST", "/v1/reports", 200),
                ("POST", "/v1/channel-states", 503),
            ):
                # In turn, and out for 2 s after a failure: until the mute one had its turn.
                seen = mute.requests

                def reached() -> bool:
                    """the one that ends without an answer was asked"""
                    answer = said(nginx.port, method, path, b"{}" if method == "POST" else None)  # noqa: B023
                    if mute.requests == seen:  # noqa: B023
                        assert answer[0] == 200
                        return False
                    assert answer[0] == status  # noqa: B023
                    return True

                eventually(reached)


@dataclass
class _Mute:
    """Reads requests and hangs up: what it did with them nobody knows."""

    port: int = 0
    requests: int = 0


@contextmanager
def _hanging_up() -> Iterator[_Mute]:
    mute = _Mute()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mute.port = listener.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(65_536):
                        mute.requests += 1

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield mute
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE_S)


def test_a_websocket_passes(tmp_path: Path) -> None:
    from websockets.sync.server import serve

    def echo(connection: Any) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.socket.getsockname()[1]
            with nginx_before(tmp_path, [port], [port]) as nginx:
                address = f"ws://127.0.0.1:{nginx.api_port}/v1/events"
                with websocket(address, open_timeout=PATIENCE_S) as connection:
                    connection.send("still there?")
                    assert connection.recv(PATIENCE_S) == "still there?"
        finally:
            server.shutdown()
            thread.join()
