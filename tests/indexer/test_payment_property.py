"""One account has one book, whatever happens on the way: a payer loses what was answered.

Given clients on several channels, some that share one, and a wire that loses requests and answers
  when they ask, are refused, are cut off, start again, and the API starts again, in any order
    a client counts what the payee charged
    what is charged is answers × price, and what stayed lost, which the client has counted
    what is redeemed on chain in between and at the end is what was charged
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from corechain.async_client import AsyncClient
from corechain.devnet.settings import PAYEE_KEY
from corechain.listing import document
from corechain.paying import LOST_TRIES
from corechain.payments import PaymentChannel
from corechain.protocol.errors import UnknownBatch
from corechain.service.words import to_hex
from corechain.steps import ApiUnavailable
from corechain_indexer.errors import InvalidQuery
from indexer.site import Loss, Site, served
from indexer.support import World, settings_of

PRICE, QUERIES = 1_000, 400
ROUNDS, CHANNELS, AT_ONCE = 7, 3, 8
LOSSES = (Loss.ANSWER, Loss.REQUEST)
UPSIDE_DOWN = {"from": 9, "to": 3}


@dataclass
class Weather:
    """Losses come singly and in spells longer than a client's patience, on each channel its own."""

    chance: random.Random
    coming: dict[str, list[Loss]] = field(default_factory=dict)

    def next(self, channel_id: str) -> Loss:
        spell = self.coming.setdefault(channel_id, [Loss.NOTHING] * 3)
        if not spell:
            losses = self.chance.choice((1, 2, LOST_TRIES, LOST_TRIES + 2))
            calm = self.chance.randint(1, 6)
            spell += [Loss.NOTHING] * calm + self.chance.choices(LOSSES, k=losses)
        return spell.pop(0)


@dataclass
class Purse:
    """A payer's channel through all its lives, and what it got for it.

    A life is a client process: the next one knows the channel's terms and nothing else.
    """

    channel: PaymentChannel
    answers: int = 0
    refusals: int = 0
    unanswered: int = 0
    lives: list[PaymentChannel] = field(default_factory=list)

    def begin_again(self) -> None:
        self.lives.append(self.channel)
        old = self.channel
        self.channel = PaymentChannel(old.config, old.domain, old.key, old.deposit)
        self.channel.max_price = old.max_price

    @property
    def lost(self) -> int:
        """What the clients know to have paid for answers that never came."""
        return self.channel.lost + sum(life.lost for life in self.lives)


@dataclass
class Story:
    """A seeded run against a site."""

    site: Site
    chance: random.Random
    purses: list[Purse]
    redeemed: int = 0

    async def ask(self, client: AsyncClient, purse: Purse) -> None:
        """One query of a kind that is answered, or of one that is refused."""
        known = self.site.world.keys[0].identity.device
        kinds: list[Any] = [
            lambda: client.latest(known),
            lambda: client.readings(device=known, limit=self.chance.randint(1, 9)),
            # Of the document itself: `readings` would refuse a window upside down before it asks.
            lambda: client.run(document("/v1/readings", device=to_hex(known), **UPSIDE_DOWN)),
            lambda: client.rejections(77),
        ]
        try:
            await self.chance.choice(kinds)()
        except (InvalidQuery, UnknownBatch):
            purse.refusals += 1
        except ApiUnavailable:
            purse.unanswered += 1
        else:
            purse.answers += 1

    async def rush(self, purse: Purse) -> None:
        """Several queries of one channel at once."""
        async with self.site.client(purse.channel) as client:
            times = self.chance.randint(1, AT_ONCE)
            await asyncio.gather(*(self.ask(client, purse) for _ in range(times)))

    async def round(self) -> None:
        await asyncio.gather(*map(self.rush, self.purses))
        for purse in self.purses:
            if self.chance.random() < 0.3:
                await self.settle_doubt(purse)
                purse.begin_again()
        if self.chance.random() < 0.2:
            await self.site.restart()
        if self.chance.random() < 0.2:
            self.redeemed += (await self.site.redeem()).amount

    async def settle_doubt(self, purse: Purse) -> None:
        """One more query on a wire that loses nothing: a life ends knowing what it lost."""
        plan, self.site.wire.plan = self.site.wire.plan, lambda _: Loss.NOTHING
        async with self.site.client(purse.channel) as client:
            await client.latest(self.site.world.keys[1].identity.device)
            purse.answers += 1
        self.site.wire.plan = plan


async def run(site: Site, seed: int) -> Story:
    chance = random.Random(seed)
    purses = [Purse(await site.opened(QUERIES, salt)) for salt in range(CHANNELS)]
    story = Story(site, chance, purses)
    site.wire.plan = Weather(chance).next
    for _ in range(ROUNDS):
        await story.round()
    for purse in purses:
        await story.settle_doubt(purse)
    return story


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_payer_loses_what_was_answered(
    world: World, database: str, bus_url: str, seed: int
) -> None:
    world.add(hours=4)
    settings = settings_of(world, database, bus_url, price_per_query=PRICE, payee_key=PAYEE_KEY)
    async with served(world, settings) as site:
        story = await run(site, seed)
        story.redeemed += (await site.redeem()).amount
        for purse in story.purses:
            charged = await site.charged(purse.channel)
            assert charged == purse.channel.spent == site.claimed(purse.channel)
            assert charged == purse.answers * PRICE + purse.lost
            # Of what stayed unanswered, at most one price each, and only what the wire has eaten.
            assert purse.lost <= purse.unanswered * PRICE
        assert story.redeemed == sum(site.claimed(purse.channel) for purse in story.purses)
        assert (await site.redeem()).transactions == (), "there is nothing left to draw"
        assert sum(purse.refusals for purse in story.purses) > 10, "refusals were tried"
        assert sum(purse.unanswered for purse in story.purses) > 0, "losses were tried"
        assert sum(purse.lost for purse in story.purses) > 0, "some answers were paid and lost"
