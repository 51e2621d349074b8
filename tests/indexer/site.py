"""A paid query API on a socket, with a wire that loses requests and answers when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import uvicorn
from eth_account.signers.local import LocalAccount
from support.processes import PATIENCE_S

from corechain.account import account_from_key
from corechain.async_client import AsyncClient
from corechain.client import Client
from corechain.devnet.settings import ADMIN_KEY, PAYEE_KEY
from corechain.payments import PaymentChannel, channel_to, decode_header
from corechain.protocol.keys import Secp256k1Key
from corechain_indexer.redeem import Redeemed, open_vouchers, redeem
from corechain_indexer.service import Indexer
from corechain_indexer.settings import Settings
from indexer.support import Driven, World, driven

PAYEE = bytes.fromhex(account_from_key(PAYEE_KEY).address[2:])
SIGNATURE = b"payment-signature"


class Loss(Enum):
    """What happens to a request on the wire."""

    NOTHING = "it arrives, and so does its answer"
    REQUEST = "it never arrives"
    ANSWER = "its answer never arrives"


@dataclass
class Wire:
    """Loses what `plan` says of a channel's next paid request."""

    app: Any
    plan: Callable[[str], Loss] = lambda channel_id: Loss.NOTHING
    paid: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        header = dict(scope.get("headers", ())).get(SIGNATURE)
        if header is None:
            await self.app(scope, receive, send)
            return
        self.paid += 1
        loss = self.plan(decode_header(header.decode())["payload"]["voucher"]["channelId"])
        if loss is Loss.NOTHING:
            await self.app(scope, receive, send)
            return
        if loss is Loss.ANSWER:
            await self.app(scope, receive, _swallow)
        # Begun and never ended: the server hangs up, the client has half an answer.
        headers = [(b"content-length", b"9999"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})


async def _swallow(message: Any) -> None:
    """An answer that nobody gets."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # pytest keeps the signals


async def _started(server: uvicorn.Server) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0.01)


@dataclass
class Site:
    """A served API; its clients and channels."""

    world: World
    driven: Driven
    settings: Settings
    wire: Wire
    url: str
    price: int
    _stack: AsyncExitStack = field(repr=False)

    @property
    def payer(self) -> LocalAccount:
        return account_from_key(ADMIN_KEY)

    def arguments(self) -> dict[str, Any]:
        return {
            "api_url": self.url,
            "gateway_url": self.url,
            "rpc_url": self.world.chain.rpc_url,
            "deployment": self.world.chain.deployment,
            "account": self.payer,
            "verify": False,
        }

    def client(self, channel: PaymentChannel | None = None, **more: Any) -> AsyncClient:
        return AsyncClient(**self.arguments(), channel=channel, **more)

    def blocking(self, channel: PaymentChannel | None = None, **more: Any) -> Client:
        return Client(**self.arguments(), channel=channel, **more)

    async def opened(self, queries: int, salt: int = 0) -> PaymentChannel:
        """A channel of the admin's, mirrored, with no memory of anything paid from it."""
        contracts = self.world.chain.deployment
        payer = self.payer
        channel = channel_to(
            PAYEE,
            Secp256k1Key(bytes(payer.key)),
            token=contracts.address("CoreToken"),
            chain_id=contracts.chain_id,
            payment_channels=contracts.address("PaymentChannels"),
            withdraw_delay_s=900,
            salt=salt.to_bytes(32, "big"),
        )
        self.world.chain.open_channel(payer, channel.config, queries * self.price)
        channel.deposit, channel.max_price = queries * self.price, self.price
        await self.driven.settle()
        return channel

    async def restart(self) -> None:
        """The API as another process would be: nothing in memory, new connections."""
        indexer = Indexer(self.settings, self.world.chain.deployment)
        self._stack.push_async_callback(indexer.close)
        await indexer.prepare()
        self.wire.app = indexer.api().app(queries=True)

    async def redeem(self) -> Redeemed:
        url = self.settings.database_url.get_secret_value()
        done = await asyncio.to_thread(
            redeem, self.world.chain, PAYEE_KEY, await open_vouchers(url)
        )
        await self.driven.settle()
        return done

    def claimed(self, channel: PaymentChannel) -> int:
        return self.world.chain.channel_balance(channel.channel_id)[1]

    async def charged(self, channel: PaymentChannel) -> int:
        found = await self.driven.indexer.pool.fetchval(
            "select charged from voucher where channel_id = $1", channel.channel_id
        )
        return int(found or 0)


@asynccontextmanager
async def served(world: World, settings: Settings) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(driven(settings, world))
        await running.settle()
        wire = Wire(running.indexer.api().app(queries=True))
        config = uvicorn.Config(wire, port=0, log_level="critical", lifespan="off")
        server = _Server(config)
        serving = asyncio.create_task(server.serve())
        await _started(server)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield Site(
                world, running, settings, wire, f"http://127.0.0.1:{port}",
                settings.price_per_query, stack,
            )  # fmt: skip
        finally:
            server.should_exit = True
            await serving
