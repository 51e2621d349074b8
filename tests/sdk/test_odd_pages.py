"""Whoever answers in the place of a server: both clients say who, where and what to do, at once.

given a redirect, a page of somebody else, a stream that is none, an environment that leads nowhere
  └── a typed error with the URL, without what may be secret
given a stream that failed, was given up, or is closed by another thread
  └── it goes on when it is asked again, and is over only when it was closed
"""

import asyncio
import json
import socket
import threading
from dataclasses import dataclass

import httpx
import pytest
from support.batches import KEYS
from support.http import Script, answers
from support.processes import PATIENCE_S

from corechain import AsyncClient, Client
from corechain.audit import fetch_data_file
from corechain.documents import MalformedAnswer, WrongAnswer
from corechain.http import UnusableEnvironment, _authorities, redirect_of
from corechain.protocol.errors import TransportError
from corechain.protocol.hashing import Digest26
from corechain.steps import ApiUnavailable

DEVICE = KEYS[0].identity.device
MOVED = Script(
    308, b"<html>", headers=(("location", "https://me:secret@elsewhere.example/a?k=secret"),)
)
OF_EACH = {
    "an API": lambda client: client.status(),
    "a gateway": lambda client: client.next_sequence(DEVICE),
    "a node": lambda client: client.chain.commitment_of(1),
    "a stream": lambda client: next(client.stream()),
    "a data file": lambda client: fetch_data_file(client.gateway_url, Digest26(bytes(26))),
}

IMPATIENCE_S = 0.05
"""Of one who gives up on what never comes."""


@pytest.mark.parametrize("ask", OF_EACH.values(), ids=OF_EACH.keys())
def test_a_redirect_says_where_to_and_no_secret_and_is_not_tried_again(ask, deployment):
    with answers(MOVED) as url, pytest.raises(TransportError) as caught:
        ask(Client(url, url, url, deployment))
    assert f"{url}" in str(caught.value)
    assert "HTTP 308 to https://elsewhere.example" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_redirect_names_a_whole_url_and_of_a_node_no_path_where_its_key_may_be(deployment):
    with answers(Script(301, b"", headers=(("location", "/key/"),))) as url:
        client = Client(url, url, f"{url}/key", deployment)
        with pytest.raises(ApiUnavailable, match=f"HTTP 301 to {url}/key/: use that as the URL"):
            client.status()
        with pytest.raises(TransportError, match=f"HTTP 301 to {url}: use that as the URL"):
            client.chain.commitment_of(1)
    for odd, said in ("", "nowhere"), ("http://[", "(not a URL)"):
        response = httpx.Response(302, headers={"location": odd}, request=httpx.Request("GET", url))
        assert redirect_of(response) == f"HTTP 302 to {said}: use that as the URL"


@pytest.mark.parametrize("ask", OF_EACH.values(), ids=OF_EACH.keys())
def test_a_page_of_somebody_else_is_said_to_come_from_there(ask, deployment):
    page = Script(404, b"<html>", "text/html")
    with answers(page) as url, pytest.raises(TransportError) as caught:
        ask(Client(url, url, url, deployment))
    assert url in str(caught.value)
    assert "HTTP 404" in str(caught.value)


EVENT = {
    "type": "new", "cursor": "c1", "id": 1, "batch_id": 1, "commitment": "0x" + "00" * 26,
    "block": 1, "block_hash": "0x" + "00" * 32, "transaction": "0x" + "00" * 32,
    "finality": "pending",
}  # fmt: skip


def streamed(*events, head=b""):
    body = head + b"".join(b"id: c1\ndata: %s\n\n" % json.dumps(each).encode() for each in events)
    return Script(200, body, "text/event-stream; charset=utf-8")


ODD_STREAMS = {
    "html": (Script(200, b"<html>welcome</html>", "text/html"), ApiUnavailable),
    "nothing": (Script(204, b""), ApiUnavailable),
    "deep refusal": (Script(400, b"[" * 60_000), ApiUnavailable),
    "refusal without an end": (Script(400, b" " * 70_000), MalformedAnswer),
    "deep event": (streamed(head=b'id: c\ndata: {"x":' + b"[" * 60_000 + b"\n\n"), MalformedAnswer),
    "no place": (streamed(head=b"data: 1\n\n"), MalformedAnswer),
    "event without an end": (streamed(head=b"data: 1\n" * 2_000), MalformedAnswer),
    "wide event": (streamed(head=b"data: %s\n" % (b"1" * 60_000) * 2), MalformedAnswer),
    "negative batch": (streamed(EVENT | {"batch_id": -5}), MalformedAnswer),
    "no hash": (streamed(EVENT | {"transaction": "0x"}), MalformedAnswer),
    "the same again": (streamed(EVENT, EVENT), WrongAnswer),
}


@pytest.mark.parametrize(("script", "kind"), ODD_STREAMS.values(), ids=ODD_STREAMS.keys())
def test_a_stream_that_is_none_is_a_typed_error_at_once_to_both_clients(script, kind, deployment):
    async def read(url):
        async with AsyncClient(url, url, url, deployment) as client, client.stream() as events:
            async for _ in events:
                pass

    with answers(script) as url, Client(url, url, url, deployment) as client:
        with client.stream() as events, pytest.raises(kind) as caught:
            list(events)
        with pytest.raises(kind) as again:
            asyncio.run(read(url))
    assert str(caught.value) == str(again.value)


def test_a_stream_that_failed_is_no_stream_that_ended(deployment):
    """Asked again it asks again: StopIteration would say that there is no more."""
    with (
        answers(Script(502, b"<html>")) as url,
        Client(url, url, url, deployment) as client,
    ):
        events = client.stream(patience_s=0)
        for _ in range(2):
            with pytest.raises(ApiUnavailable, match="HTTP 502"):
                next(events)
        events.close()
        assert list(events) == []


def test_a_stream_goes_on_after_a_wait_that_was_given_up(silent, deployment):
    async def ask():
        async with AsyncClient(silent.url, silent.url, silent.url, deployment) as client:
            events = client.stream()
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(IMPATIENCE_S):
                        await anext(events)
            await events.close()
            assert [event async for event in events] == []

    asyncio.run(ask())


def test_a_stream_is_ended_while_another_thread_waits_for_it(silent, deployment):
    client, found = Client(silent.url, silent.url, silent.url, deployment), ["nothing yet"]
    events = client.stream()
    thread = threading.Thread(target=lambda: found.__setitem__(slice(None), events))
    thread.start()
    connection, _ = silent.socket.accept()
    events.close()
    connection.close()
    thread.join(PATIENCE_S)
    assert found == []
    client.close()


@dataclass
class Silent:
    """A server that takes connections, and says nothing."""

    socket: socket.socket

    @property
    def url(self):
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"


@pytest.fixture
def silent():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Silent(listening)


ENVIRONMENTS = {
    "ALL_PROXY": ("socks5://127.0.0.1:1", "socksio"),
    "HTTP_PROXY": ("ftp://me:secret@proxy.example", "Unknown scheme"),
    "SSL_CERT_FILE": ("/none.pem", "No such file"),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_with_which_nothing_connects_is_named(name, deployment, monkeypatch):
    value, why = ENVIRONMENTS[name]
    _authorities.cache_clear()
    monkeypatch.setenv(name, value)
    client = Client("http://a.example", "http://a.example", "http://a.example", deployment)
    for ask in OF_EACH.values():
        with pytest.raises(
            UnusableEnvironment, match=f"{name}.*: .*{why}.*; correct or unset it"
        ) as caught:
            ask(client)
        assert "secret" not in str(caught.value)
    _authorities.cache_clear()
