"""`/v1/channel-states`: parties leave their newest signed state with the watchtower, and ask which
one it holds, as it may have been set up anew or restored from an older backup."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from corechain.protocol.channel import ChannelState
from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import (
    MalformedReport,
    Overloaded,
    Unavailable,
    UnsupportedMediaType,
)
from corechain.service.errors import NodeBehind, NodeRefused, NodeUnavailable, StoreUnavailable
from corechain_relayer.following import Follower
from corechain_relayer.gateway.body import headers_of, media_type, read_body
from corechain_relayer.watchtower.channels import Channel, ChannelsView, Evidence, UnknownChannel
from corechain_relayer.watchtower.consent import require_consent
from corechain_relayer.watchtower.store import EvidenceStore

BODY_LIMIT, BODY_TIMEOUT_S = 8192, 10.0
SIGNATURE_BYTES = 1024
"""The longest signature of a contract: that of a wallet with 15 owners."""
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})+", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,27}", re.ASCII)


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    channel_id: str
    version: int
    balance_a: str
    signature_a: str
    signature_b: str


def _channel_id(text: str) -> bytes:
    if len(text) != 2 + 2 * 32 or not _HEX.fullmatch(text):
        raise MalformedReport("channel_id is not 32 bytes in hexadecimal")
    return bytes.fromhex(text[2:])


def _signature(text: str) -> bytes:
    if len(text) > 2 + 2 * SIGNATURE_BYTES or not _HEX.fullmatch(text):
        raise MalformedReport(f"signature is not up to {SIGNATURE_BYTES} bytes in hexadecimal")
    return bytes.fromhex(text[2:])


def parse_evidence(body: bytes) -> Evidence:
    """`balance_a` is a decimal string: it passes 2^53. Raises MalformedReport."""
    try:
        item = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedReport(f"not a channel state: {error}") from None
    if not _DECIMAL.fullmatch(item.balance_a):
        raise MalformedReport("balance_a is not a decimal number")
    state = ChannelState(_channel_id(item.channel_id), item.version, int(item.balance_a))
    return Evidence(state, _signature(item.signature_a), _signature(item.signature_b))


@dataclass(slots=True)
class EvidenceEndpoint:
    """Stores what both parties signed for an open channel; anything else is refused by name."""

    follower: Follower[ChannelsView]
    store: EvidenceStore
    domain: Domain

    async def post(self, request: Request) -> Response:
        if media_type(headers_of(request.headers.raw)) != "application/json":
            raise UnsupportedMediaType("send application/json")
        evidence = parse_evidence(await read_body(request, BODY_LIMIT, BODY_TIMEOUT_S))
        channel = await self._channel(evidence.state)
        evidence.check_values(channel)
        with _asking("the channel's parties cannot be asked now"):
            await require_consent(self.follower.rpc, evidence, channel, self.domain)
        try:
            newer = await self.store.keep(evidence)
        except StoreUnavailable as error:
            raise Overloaded(str(error)) from error
        return JSONResponse({"stored": newer}, 201 if newer else 200)

    async def get(self, request: Request) -> Response:
        """Which version is held. Who signed a newer one sends it again."""
        channel_id = _channel_id(request.path_params["channel_id"])
        try:
            version = await self.store.held(channel_id)
        except StoreUnavailable as error:
            raise Overloaded(str(error)) from error
        if version is None:
            raise UnknownChannel(channel_id)
        return JSONResponse({"version": version})

    async def _channel(self, state: ChannelState) -> Channel:
        """As it stands, as far as we followed it; looked up where that is less than the state is
        of: an opening or a top-up may be in a newer block. Raises UnknownChannel, Unavailable."""
        known = self.follower.view.channels.get(state.channel_id)
        if known is None or state.balance_a > known.deposit:
            await self._look()
        return self.follower.view.find(state.channel_id)

    async def _look(self) -> None:
        """Raises Unavailable: a channel that cannot be looked up must not be called unknown."""
        with _asking("the channel cannot be looked up now"):
            await self.follower.refresh_since(time.monotonic())

    def routes(self) -> list[Route]:
        return [
            Route("/v1/channel-states", self.post, methods=["POST"]),
            Route("/v1/channel-states/{channel_id}", self.get, methods=["GET"]),
        ]


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Raises Unavailable for whatever keeps the node from an answer."""
    try:
        yield
    except (NodeBehind, NodeUnavailable, NodeRefused) as error:
        raise Unavailable(f"{what}: {error}") from error
