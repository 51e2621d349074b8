"""`POST /v1/channel-states`: parties leave their newest signed state with the watchtower."""

import re
import time
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
from corechain_relayer.gateway.body import media_type, read_body
from corechain_relayer.watchtower.channels import ChannelsView, Evidence
from corechain_relayer.watchtower.store import EvidenceStore

BODY_LIMIT, BODY_TIMEOUT_S = 4096, 10.0
_HEX = {size: re.compile(rf"0x[0-9a-fA-F]{{{2 * size}}}", re.ASCII) for size in (32, 64)}
_DECIMAL = re.compile(r"[0-9]{1,27}", re.ASCII)


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    channel_id: str
    version: int
    balance_a: str
    signature_a: str
    signature_b: str


def _bytes(field: str, text: str, size: int) -> bytes:
    if not _HEX[size].fullmatch(text):
        raise MalformedReport(f"{field} is not {size} bytes in hexadecimal")
    return bytes.fromhex(text[2:])


def parse_evidence(body: bytes) -> Evidence:
    """`balance_a` is a decimal string: it passes 2^53. Raises MalformedReport."""
    try:
        item = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedReport(f"not a channel state: {error}") from None
    if not _DECIMAL.fullmatch(item.balance_a):
        raise MalformedReport("balance_a is not a decimal number")
    channel_id = _bytes("channel_id", item.channel_id, 32)
    state = ChannelState(channel_id, item.version, int(item.balance_a))
    signatures = (item.signature_a, item.signature_b)
    one, two = (_bytes("signature", text, 64) for text in signatures)
    return Evidence(state, one, two)


@dataclass(slots=True)
class EvidenceEndpoint:
    """Stores what both parties signed for an open channel; anything else is refused by name."""

    follower: Follower[ChannelsView]
    store: EvidenceStore
    domain: Domain

    async def post(self, request: Request) -> Response:
        if media_type(dict(request.headers.raw)) != "application/json":
            raise UnsupportedMediaType("send application/json")
        evidence = parse_evidence(await read_body(request, BODY_LIMIT, BODY_TIMEOUT_S))
        channel_id = evidence.state.channel_id
        if channel_id not in self.follower.view.channels:
            await self._look()
        evidence.check(self.follower.view.find(channel_id), self.domain)
        try:
            newer = await self.store.keep(evidence)
        except StoreUnavailable as error:
            raise Overloaded(str(error)) from error
        return JSONResponse({"stored": newer}, 201 if newer else 200)

    async def _look(self) -> None:
        """Raises Unavailable: a channel that cannot be looked up must not be called unknown."""
        try:
            await self.follower.refresh_since(time.monotonic())
        except (NodeBehind, NodeUnavailable, NodeRefused) as error:
            raise Unavailable(f"the channel cannot be looked up now: {error}") from error

    def routes(self) -> list[Route]:
        return [Route("/v1/channel-states", self.post, methods=["POST"])]
