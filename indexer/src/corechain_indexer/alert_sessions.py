"""The loops of the alerts: one that looks, one that sends to each receiver."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from corechain.service.database import writer
from corechain.service.settings import InvalidSetting, listed, urls_in
from corechain_indexer.alerts import Alerts, Head, Limits, Rules, target_of
from corechain_indexer.bell import Bell
from corechain_indexer.export import until_woken
from corechain_indexer.maintenance import WRITER
from corechain_indexer.metrics import Metrics
from corechain_indexer.settings import PREFIX, Settings
from corechain_indexer.store.alerts import Webhooks
from corechain_indexer.webhooks import Sender

if TYPE_CHECKING:
    import httpx

    from corechain.service.database import Database

Session = Callable[[], Awaitable[None]]


def limits_of(settings: Settings) -> Limits:
    parties = listed(settings.alert_parties)
    return Limits(
        silent_s=settings.alert_silent_s,
        unverified_s=settings.alert_unverified_s,
        lag_blocks=settings.alert_lag_blocks,
        node_away_s=settings.alert_node_away_s,
        reorg_blocks=settings.alert_reorg_blocks,
        deadline_s=settings.alert_deadline_s,
        parties=[bytes.fromhex(text[2:]) for text in parties],
    )


@dataclass(slots=True)
class AlertSessions:
    """None where nobody is to be told. A receiver has a loop and a lock of its own: one that hangs
    delays no other, and two processes do not send the same."""

    settings: Settings
    chain_id: int
    pool: "Database"
    node: Head
    http: "httpx.AsyncClient"
    metrics: Metrics
    _fired: Bell = field(default_factory=Bell)

    @property
    def urls(self) -> list[str]:
        given = self.settings.alert_urls
        return [] if given is None else urls_in(given)

    def by_name(self) -> dict[str, Session]:
        """Raises InvalidSetting."""
        if not self.urls:
            return {}
        if self.settings.alert_secret is None:
            raise InvalidSetting(f"{PREFIX}ALERT_SECRET is not set, but {PREFIX}ALERT_URLS is")
        secret = self.settings.alert_secret.get_secret_value().encode()
        found: dict[str, Session] = {"alerts": self.watch}
        for number, url in enumerate(self.urls, start=1):
            found[f"receiver {number}"] = partial(self.send, f"receiver {number}", url, secret)
        return found

    async def watch(self) -> None:
        rules = Rules(self.pool, self.node, limits_of(self.settings))
        targets = [target_of(url) for url in self.urls]
        async with writer(self.settings.session_url, f"{WRITER} alerts") as connection:
            alerts = Alerts(connection, rules, targets, self.chain_id, self.metrics)
            while True:
                if await alerts.step():
                    self._fired.set()
                await asyncio.sleep(self.settings.alert_every_s)

    async def send(self, name: str, url: str, secret: bytes) -> None:
        target = target_of(url)
        async with writer(self.settings.session_url, f"{WRITER} {target.hex()}") as connection:
            webhooks = Webhooks(connection, target)
            sender = Sender(webhooks, url, name, secret, self.http, self.metrics)
            await until_woken(sender.step, self._fired.heard_by(name), self.settings.poll_s)
