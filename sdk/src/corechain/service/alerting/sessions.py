"""The loops of the alerts: one that looks, one that sends to each receiver."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from corechain.http import async_client
from corechain.service.alerting.alerts import Alerts, Rules
from corechain.service.alerting.book import Webhooks
from corechain.service.alerting.sender import Sender, target_of
from corechain.service.bell import Bell, until_woken
from corechain.service.database import writer
from corechain.service.settings import Receivers

Session = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Counts:
    """Are called with the kind of an alert and what became of it; with the name of a receiver and
    what came of a message."""

    alerts: Callable[[str, str], None]
    messages: Callable[[str, str], None]


@dataclass(slots=True, kw_only=True)
class AlertSessions:
    """None where nobody is to be told. A receiver has a loop and a lock of its own: one that hangs
    delays no other, and two processes do not send the same."""

    database_url: str
    """With a session: the locks are its."""
    owner: str
    """Names the locks, and with `sender` the queues of the receivers."""
    chain_id: int
    receivers: Receivers
    rules: Callable[[], Rules]
    counts: Counts
    every_s: float
    """Pause between two looks, unless `changed` is set before."""
    poll_s: float
    sender: str = ""
    """Whose messages, where several watchers that share a database send to one receiver."""
    older_s: float = 0.0
    """How old a message to somebody whom we do not know is when it is forgotten."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _fired: Bell = field(default_factory=Bell)

    def by_name(self) -> dict[str, Session]:
        """Sessions by the name of their loop."""
        if not self.receivers.urls:
            return {}
        found: dict[str, Session] = {"alerts": self.watch}
        for number, url in enumerate(self.receivers.urls, start=1):
            name = f"receiver {number}"  # its URL may hold a token
            found[name] = partial(self.send, name, url)
        return found

    async def watch(self) -> None:
        rules = self.rules()
        targets = [target_of(url, self.sender) for url in self.receivers.urls]
        async with writer(self.database_url, f"{self.owner} alerts") as connection:
            asked = (connection, rules, targets, self.chain_id)
            alerts = Alerts(*asked, self.counts.alerts, self.older_s)

            async def step() -> bool:
                if await alerts.step():
                    self._fired.set()
                return False  # one look a turn: what is wrong changes outside

            await connection.hold(until_woken(step, self.changed, self.every_s))

    async def send(self, name: str, url: str) -> None:
        target, secret = target_of(url, self.sender), self.receivers.secret
        count = partial(self.counts.messages, name)
        lock = f"{self.owner} {target.hex()}"
        async with writer(self.database_url, lock) as connection, async_client() as http:
            sender = Sender(Webhooks(connection, target), url, name, secret, http, count)
            sending = until_woken(sender.step, self._fired.heard_by(name), self.poll_s)
            await connection.hold(sending)
