"""Clients of the SDK in processes, threads and event loops, and with a proxy in the environment.

given a client
  ├── after a fork parent and child each get their own answers
  ├── it works in a second event loop, leaves nothing open behind, and may be closed and used again
  ├── threads share it
  └── a proxy of the environment never stands before this machine
"""

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from support.processes import PATIENCE_S, eventually

from corechain import AsyncClient, Client
from corechain.chain import Chain, ChainUnavailable
from corechain.deployment import load_deployment
from corechain.devnet.process import free_port
from corechain.http import async_client, client, is_loopback
from corechain.node import AnswerLost, Node
from corechain.service.rpc import Rpc
from corechain.status import Places, inspect

ROUNDS = 40


class _Echo(BaseHTTPRequestHandler):
    """Keeps connections open, and answers what was asked: JSON-RPC with its parameter, paths with
    themselves. An answer to somebody else's question is seen."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _send(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        found = re.fullmatch(r"/v1/batches/(\d+)", self.path)
        batch = {"batch_id": int(found[1])} if found else {}
        self._send({"path": self.path} | batch)

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        known = {"eth_chainId": "0x7a69", "eth_blockNumber": "0x1"}
        result = known.get(call["method"]) or call["params"][0]
        self._send({"jsonrpc": "2.0", "id": call["id"], "result": result})

    def log_message(self, *_):
        """Silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def echo() -> Iterator[str]:
    with _Server(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def url():
    with echo() as running:
        yield running


def blocking(url, deployment):
    return Client(url, url, url, deployment)


FORK = """
import os, sys
from corechain import Client
from corechain.chain import Chain
url, deployment, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = Client(url, url, url, deployment)
chain = client.chain
def ask(name):
    for number in range(rounds):
        batch = number * 2 + name
        assert client.batch(batch + 1)["path"] == f"/v1/batches/{batch + 1}", "not my answer"
        assert chain.node.call("eth_echo", hex(batch)) == hex(batch), "not my answer"
ask(0)
child = os.fork()
try:
    ask(1 if child else 2)
except BaseException as error:
    print(repr(error), file=sys.stderr)
    os._exit(1)
if not child:
    os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_after_a_fork_parent_and_child_get_their_own_answers(url, deployment):
    """In a process of its own: this one has threads, which a fork would not copy."""
    done = subprocess.run(
        [sys.executable, "-c", FORK, url, str(deployment), str(ROUNDS)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_client_works_in_a_second_event_loop_and_leaves_nothing_open(url, deployment):
    """Warnings are errors here: a connection that outlives its loop would be one."""
    made = AsyncClient(url, url, url, deployment)
    for number in (1, 2, 3):
        assert asyncio.run(made.batch(number))["path"] == f"/v1/batches/{number}"


def test_a_client_of_two_loops_at_once_keeps_them_apart(url, deployment):
    made, wrong = AsyncClient(url, url, url, deployment), []

    def ask(name):
        async def many():
            for number in range(1, ROUNDS):
                answer = await made.batch(number * 2 + name)
                if answer["path"] != f"/v1/batches/{number * 2 + name}":
                    wrong.append(answer)

        asyncio.run(many())

    threads = [threading.Thread(target=ask, args=(name,)) for name in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_client_that_was_closed_opens_again(url, deployment):
    made = blocking(url, deployment)
    with made:
        assert made.batch(1)
    assert made.batch(2)["path"] == "/v1/batches/2"
    made.close()

    async def twice():
        other = AsyncClient(url, url, url, deployment)
        async with other:
            await other.batch(1)
        assert (await other.batch(2))["path"] == "/v1/batches/2"
        await other.close()

    asyncio.run(twice())


def test_threads_share_a_client(url, deployment):
    made, wrong = blocking(url, deployment), []

    def ask(name):
        for number in range(1, ROUNDS):
            batch = 100 * name + number
            if made.batch(batch)["path"] != f"/v1/batches/{batch}":
                wrong.append(batch)
            if made.chain.node.call("eth_echo", hex(batch)) != hex(batch):
                wrong.append(batch)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    made.close()


@pytest.fixture
def proxied(monkeypatch):
    """A proxy that is not there, for everything."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, nowhere)
        monkeypatch.setenv(name.lower(), nowhere)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    return nowhere


def test_no_proxy_stands_before_this_machine(url, deployment, proxied):
    with blocking(url, deployment) as made:
        assert made.batch(1)["path"] == "/v1/batches/1"
        assert made.chain.node.head() == 1

    async def ask():
        async with AsyncClient(url, url, url, deployment) as other:
            assert (await other.batch(1))["path"] == "/v1/batches/1"
        rpc = Rpc(url)
        assert await rpc.chain_id() == 31337
        await rpc.close()

    asyncio.run(ask())
    assert all(check.works for check in inspect(Places(url, url, url, deployment)))


def test_a_name_of_this_machine_in_another_range_is_direct_too(url, proxied, monkeypatch):
    with echo() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
        other = url.replace("127.0.0.1", "127.1.2.3")
        # Nobody listens there: an answer would be the proxy's.
        with client(other) as http, pytest.raises(httpx.ConnectError):
            http.get(other)
        with client() as http:
            localhost = url.replace("127.0.0.1", "localhost")
            assert http.get(f"{localhost}/a").json() == {"path": "/a"}


def test_other_machines_are_asked_through_the_proxy(proxied, monkeypatch):
    with echo() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
        with client() as http:
            assert http.get("http://node.example/x").json() == {"path": "http://node.example/x"}

        async def ask():
            async with async_client() as other:
                return (await other.get("http://node.example/x")).json()

        assert asyncio.run(ask()) == {"path": "http://node.example/x"}
        assert asyncio.run(Rpc("http://node.example/").chain_id()) == 31337


def test_a_service_that_closes_no_connection_leaves_none_and_may_ask_in_another_loop(url):
    rpc = Rpc(url)
    for _ in range(2):
        assert asyncio.run(rpc.chain_id()) == 31337
        assert rpc._poster._session.client.closed


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:8545", True),
        ("http://127.255.0.1", True),
        ("http://[::1]:1", True),
        ("http://LOCALHOST/x", True),
        ("http://a.localhost", True),
        ("http://localhost.example", False),
        ("http://10.0.0.1", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_its_names(url, own):
    assert is_loopback(url) is own


def test_a_chain_that_nobody_closed_leaves_no_connection(url, deployment):
    chain = Chain(url, load_deployment(deployment))
    assert chain.node.head() == 1
    (made,) = chain._node._clients._clients.values()
    del chain
    assert eventually(lambda: made.is_closed)


def test_a_connection_that_ends_while_the_node_works_is_an_answer_lost():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def hang_up():
            connection, _ = server.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with closing(Node(f"http://127.0.0.1:{port}", 5.0)) as node, pytest.raises(AnswerLost):
            node.call("eth_chainId")
        thread.join()
    with closing(Node(f"http://127.0.0.1:{port}", 5.0)) as node:
        with pytest.raises(ChainUnavailable) as refused:
            node.call("eth_chainId")
        assert not isinstance(refused.value, AnswerLost)
