"""`corechain stream`: batch events on the terminal, or to a webhook; resumes without a gap."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.cli_failures import printable
from corechain.cli_options import ALL, JSON, Given, shares, until_stopped
from corechain.held_files import hold, hold_opened, let_go
from corechain.option_checks import url_option
from corechain.protocol.errors import InvalidValue, TransportError
from corechain.steps import ApiUnavailable
from corechain.webhooks import DELIVERY, MIN_SECRET_BYTES, SIGNATURE, signature_of

if TYPE_CHECKING:
    import httpx

    from corechain.streaming import BatchEvent, EventStream

VARIABLE = "CORECHAIN_WEBHOOK_SECRET"
"""Of the environment: on a command line every user would see it."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
LONGEST_OBEYED_S = 600.0
"""A receiver that asks to be left alone for longer is asked again nevertheless."""
ANSWER_LIMIT_S = 10.0
MOST_CURSOR_BYTES = 1_000
DAY_S = 86_400.0
"""How long a stream outlives an API that does not answer."""


class NotTaken(TransportError):
    """The receiver of a webhook did not take an event, however often it was asked."""


@dataclass(slots=True)
class CursorFile:
    """The place after the last event that was taken; None: nowhere is kept. Written beside and
    renamed: a crash leaves the old place or the new one."""

    path: Path | None
    _handle: int | None = field(default=None, init=False)

    @contextmanager
    def held(self) -> Iterator[None]:
        """For this stream alone: another one would move its place. Raises FileInUse, OSError."""
        if self.path is not None:
            self._handle = hold(self.path)
        try:
            yield
        finally:
            self._let_go()

    def _let_go(self) -> None:
        let_go(self._handle)
        self._handle = None

    def read(self) -> str | None:
        """Raises InvalidValue for a file that holds none, OSError."""
        if self.path is None or not self.path.exists():
            return None
        text = self.path.read_bytes().strip()
        # A line, or nothing: another file under this name would be overwritten by the next event.
        if not text.isascii() or len(text) > MOST_CURSOR_BYTES or b"\n" in text:
            right = "holds the cursor of a stream: this is another file"
            raise InvalidValue("cursor_file", str(self.path), right)
        return text.decode() or None

    def keep(self, cursor: str) -> None:
        if self.path is None:
            return
        new = self.path.with_name(self.path.name + ".new")
        with new.open("w") as file:
            file.write(cursor + "\n")
            file.flush()
            os.fsync(file.fileno())
            held = self._handle is not None
            following = hold_opened(file.fileno(), self.path) if held else None
        os.replace(new, self.path)
        self._let_go()
        self._handle = following


@dataclass(slots=True)
class Webhook:
    """Posts events one by one, each until it is taken: the next one waits, so order is kept."""

    url: str
    secret: bytes
    http: "httpx.Client"
    give_up_s: float = DAY_S
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def send(self, event: "BatchEvent") -> None:
        """Raises NotTaken."""
        import msgspec

        body, begun, pause_s = msgspec.json.encode(event), self.clock(), FIRST_PAUSE_S
        while (found := self._failure(event, body)) is not None:
            failure, asked_s = found
            pause_s = max(pause_s, min(LONGEST_OBEYED_S, asked_s))
            if self.clock() + pause_s - begun > self.give_up_s:
                raise NotTaken(
                    f"the receiver did not take event {event.id}: {failure}; start again when it"
                    " works: nothing is lost"
                )
            typer.echo(f"event {event.id} not taken: {failure}; again in {pause_s:g} s", err=True)
            self.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    def _failure(self, event: "BatchEvent", body: bytes) -> tuple[str, float] | None:
        """Why it was not taken, and for how long the receiver asks to be left alone."""
        import httpx

        from corechain.http import put_off_s

        headers = {
            "content-type": "application/json",
            # One index counts events without a gap, and names itself in their cursors.
            DELIVERY: sha256(event.cursor.encode() + b" " + body).hexdigest()[:32],
            SIGNATURE: signature_of(self.secret, int(self.clock()), body),
        }
        try:
            with self.http.stream(
                "POST", self.url, content=body, headers=headers, timeout=ANSWER_LIMIT_S
            ) as response:
                status = response.status_code
                wait_s = put_off_s(status, response.headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__, 0.0
        if 200 <= status < 300:
            return None
        return f"HTTP {status}", wait_s


def deliver(
    events: "EventStream", take: "Callable[[BatchEvent], None]", kept: CursorFile
) -> Iterator["BatchEvent"]:
    """Events in order, each taken and then kept; an event that was taken right before a crash comes
    again, with the same delivery."""
    for event in events:
        take(event)
        kept.keep(event.cursor)
        yield event


def _secret(webhook: str | None) -> bytes:
    secret = os.environ.get(VARIABLE, "").encode()
    if webhook is not None and len(secret) < MIN_SECRET_BYTES:
        raise typer.BadParameter(
            f"the environment needs {VARIABLE}, of {MIN_SECRET_BYTES} characters at least:"
            " receivers check events by it",
            param_hint="--webhook",
        )
    return secret


def _some(given: list[str] | None) -> list[Any] | None:
    return [*given] if given else None


def _print(event: "BatchEvent") -> None:
    import msgspec

    typer.echo(msgspec.json.encode(event).decode())


def _tell(outage: ApiUnavailable, pause_s: float) -> None:
    typer.echo(printable(f"{outage}; again in {pause_s:g} s"), err=True)


@shares(*ALL, *JSON)
def stream(
    since: Annotated[str | None, typer.Option(help="Cursor of an event; default: now.")] = None,
    webhook: Annotated[
        str | None,
        typer.Option(help=f"Posts events there, signed with {VARIABLE}.", callback=url_option),
    ] = None,
    cursor_file: Annotated[
        Path | None, typer.Option(help="Keeps the place in this file, and goes on from it.")
    ] = None,
    finality: Annotated[str, typer.Option(help="pending or finalised.")] = "pending",
    device: Annotated[list[str] | None, typer.Option(help="Only with readings of it.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Only with readings of it.")] = None,
    cell: Annotated[list[str] | None, typer.Option(help="Only with readings at it.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Ends after so many.")] = None,
    *,
    given: Given,
) -> None:
    """Events of batches as they happen, one JSON document a line, or posted to a webhook.

    Every event comes once and in order, across disconnections, restarts and reorgs; with a cursor
    file also across runs of this command.
    """
    from corechain.http import client as http_client

    secret, kept = _secret(webhook), CursorFile(cursor_file)
    with until_stopped(), kept.held(), given.client() as asked:
        events = asked.stream(
            kept.read() or since,
            finality=finality,
            device=_some(device),
            metric=_some(metric),
            cell=_some(cell),
            patience_s=DAY_S,
        )
        events.on_wait = _tell
        with events, http_client(webhook or asked.api_url) as http:
            take = _print if webhook is None else Webhook(webhook, secret, http).send
            for number, _ in enumerate(deliver(events, take, kept), 1):
                if number == count:
                    return
