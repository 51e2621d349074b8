"""`corechain stream --webhook`: events posted to a server of the user's.

given a receiver that refuses, breaks off, and takes
  each event is posted until it is taken, in order, signed, with the same delivery each time
  a run that ends goes on behind the last event that was taken
  a receiver that takes nothing for too long ends the command by name
given a message
  a receiver knows one that was signed with the secret and lately from any other
"""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http import Script, answers
from support.receivers import listening

from corechain.held_files import FileInUse
from corechain.protocol.errors import InvalidValue
from corechain.stream_cli import CursorFile, NotTaken, Webhook, deliver
from corechain.streaming import BatchEvent
from corechain.webhooks import DELIVERY, SIGNATURE, InvalidWebhook, check_webhook, signature_of

SECRET = b"a secret of sixteen or more"


def event(number: int) -> BatchEvent:
    hashed = "0x" + number.to_bytes(32, "big").hex()
    return BatchEvent(
        type="new", cursor=f"c{number}", id=number, batch_id=number, commitment=hashed[:54],
        block=number, block_hash=hashed, transaction=hashed, finality="pending",
    )  # fmt: skip


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client() as made:
        yield made


def test_an_event_is_posted_until_it_is_taken(http: httpx.Client) -> None:
    heard: list = []
    pauses: list[float] = []

    def mended(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 2:
            hook.url = good

    busy = Script(503, b"", headers=(("retry-after", "7"),))
    with answers(busy, heard) as broken, listening() as (good, bodies):
        hook = Webhook(broken, SECRET, http, sleep=mended)
        hook.send(event(1))
        hook.send(event(2))
    assert [json.loads(body)["id"] for body in bodies] == [1, 2]
    assert pauses == [7.0, 14.0]
    assert len({headers[DELIVERY] for headers in heard}) == 1, "the same each time"
    check_webhook(SECRET, heard[0][SIGNATURE], bodies[0])


def test_a_run_goes_on_behind_the_last_event_that_was_taken(tmp_path: Path) -> None:
    kept, taken = CursorFile(tmp_path / "cursor"), list[int]()
    assert kept.read() is None

    def take(found: BatchEvent) -> None:
        if found.id == 3:
            raise NotTaken("the receiver is away")
        taken.append(found.id)

    with pytest.raises(NotTaken):
        list(deliver(iter(map(event, range(1, 6))), take, kept))
    assert (taken, kept.read()) == ([1, 2], "c2")
    with kept.held():
        kept.keep("c3")
        with pytest.raises(FileInUse), CursorFile(kept.path).held():
            """A second stream would move the place of the first one."""
    with CursorFile(kept.path).held():
        assert kept.read() == "c3"
    CursorFile(None).keep("nowhere")


def test_a_receiver_that_takes_nothing_ends_the_command(http: httpx.Client) -> None:
    now = [0.0]

    def later(pause_s: float) -> None:
        now[0] += pause_s

    dead = Webhook("http://127.0.0.1:9", SECRET, http, 100.0, lambda: now[0], later)
    with pytest.raises(NotTaken, match="event 7: ConnectError"):
        dead.send(event(7))
    assert 60 < now[0] <= 100


def test_a_receiver_without_a_secret_takes_nothing() -> None:
    """An empty one, of a variable that is not set, anybody could sign with."""
    at = int(time.time())
    for secret in (b"", b"short", SECRET.decode(), None):
        signed = signature_of(secret if isinstance(secret, bytes) else SECRET, at, b"")
        with pytest.raises(InvalidValue, match="secret: "):
            check_webhook(secret, signed, b"")  # type: ignore[arg-type]
    signed = signature_of(SECRET, at - 10**6, b"")
    with pytest.raises(InvalidValue, match="tolerance_s"):
        check_webhook(SECRET, signed, b"", tolerance_s=math.nan)
    check_webhook(SECRET, signature_of(SECRET, at, b"").encode(), b"")


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=8), st.integers(0, 10**6))
def test_only_what_was_signed_with_the_secret_is_taken(body: bytes, more: bytes, at: int) -> None:
    signed = signature_of(SECRET, at, body)
    check_webhook(SECRET, signed, body, clock=lambda: at + 299.0)
    wrong = [
        (SECRET, signed, body + more, at),
        (SECRET[1:], signed, body, at),
        (SECRET, signed.replace(f"t={at}", f"t={at + 1}"), body, at),
        (SECRET, signed, body, at + 301),
        (SECRET, signed, body, at - 301),
        (SECRET, None, body, at),
        (SECRET, signed + ",", body, at),
    ]
    for secret, signature, text, now in wrong:
        with pytest.raises(InvalidWebhook):
            check_webhook(secret, signature, text, clock=lambda now=now: float(now))
    assert time.time() > at
