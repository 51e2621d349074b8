"""From a handler's answer to a response: its form, its validator, its coding."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from corechain.service.fields import NOT_MODIFIED, combined, holds_any, unless_held
from corechain_indexer.api.exports import Exports
from corechain_indexer.api.known import Again, Kept
from corechain_indexer.api.media.compression import (
    IN_THREAD_BYTES,
    MIN_BYTES,
    coding_for,
    compressed,
    compressed_stream,
    takes_as_it_is,
)
from corechain_indexer.api.media.formats import Format, chosen
from corechain_indexer.api.params import Params
from corechain_indexer.api.reading_pages import encodable
from corechain_indexer.api.routes import Endpoint
from corechain_indexer.api.validators import CHECKED, UNKEPT, Validators
from corechain_indexer.errors import InvalidQuery
from corechain_indexer.metrics import Metrics

OK = 200
VALUE, PLAIN_TEXT = "/$value", "text/plain; charset=utf-8"
"""What SensorThings calls the bare value of a property: all else is in the form asked for."""
VARY = "Accept, Accept-Encoding"
ACCEPT, ACCEPT_ENCODING, IF_NONE_MATCH = "accept", "accept-encoding", "if-none-match"
Answer = Callable[[Params], Awaitable[Any]]
_encoder = msgspec.json.Encoder(enc_hook=encodable)
KEPT = frozenset({"batches", "batch", "devices", "epochs"})
"""Handlers whose answers are kept until something changes: what many ask for.
Not newest values and readings, where nearly every query is of another device."""
KEPT_AGAIN = frozenset({"series", "statistics"})
"""Handlers whose answers are kept when they are asked for again: each is of a device, and most of
them are asked for once. To ask whether anything has changed and to keep an answer costs 50 µs."""


def query_id(request: Request, form: Format = Format.JSON) -> bytes:
    """The same for the same question and form, in whatever order its parameters are written."""
    # The path as it came: to make a URL of it costs more than all the rest.
    # HEAD asks for GET's header fields, its validator among them (RFC 9110, section 9.3.2).
    method = "GET" if request.method == "HEAD" else request.method
    told = [method, request.scope["path"], sorted(request.query_params.multi_items())]
    if form is not Format.JSON:
        told.append(form.value)
    return hashlib.sha256(_encoder.encode(told)).digest()


def _labelled(request: Request, form: Format) -> bytes:
    """What a validator is of. As `query_id`, but for what is escaped: a question that is written in
    another way has another validator, and is only answered once more."""
    scope = request.scope
    pieces = sorted(scope["query_string"].split(b"&"))
    return b"&".join((scope["path"].encode(), form.value.encode(), *pieces))


@dataclass(frozen=True, slots=True)
class Body:
    """A whole answer in its form."""

    content: bytes
    form: Format
    more: Mapping[str, str] | None = None
    """The parameters of the next page, where the form has no place for a cursor."""


class Encoded(Response):
    """A whole response whose fields need no looking at: their names are in lower case, and what
    Starlette would add is there."""

    def __init__(self, content: bytes, said: Mapping[str, str], content_type: str) -> None:
        self.status_code, self.background, self.body = OK, None, content
        self.raw_headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in said.items()]
        self.raw_headers += (
            (b"content-length", b"%d" % len(content)),
            (b"content-type", content_type.encode("latin-1")),
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """Every method raises what the handler raises, InvalidQuery, NotAcceptable."""

    exports: Exports
    validators: Validators
    metrics: Metrics
    kept: Kept[bytes]
    again: Again = field(default_factory=Again)

    def form(self, params: Params, endpoint: Endpoint) -> Format:
        headers = params.request.headers
        form = chosen(params.form(), combined(headers, ACCEPT), endpoint.formats)
        # Refused here where it has to be: nobody pays for an answer that he cannot be given.
        coding_for(combined(headers, ACCEPT_ENCODING))
        # A table has no place for them, and who asks for proofs must not think that there are none.
        if form is not Format.JSON and "proofs" in endpoint.parameters and params.flag("proofs"):
            raise InvalidQuery("proofs", f"come with JSON only, not with {form.value}")
        return form

    async def respond(self, params: Params, endpoint: Endpoint, answer: Answer) -> Response:
        """The response to a query that costs nothing."""
        form, headers = self.form(params, endpoint), params.request.headers
        held = combined(headers, IF_NONE_MATCH)
        # Only the answer itself tells whether there is anything: a 404 stays one.
        if held is None:
            return await self._full(params, endpoint, answer, form)
        if endpoint.timed or holds_any(held):
            response = unless_held(headers, await self._full(params, endpoint, answer, form))
        elif tag := await self.validators.stands(_labelled(params.request, form), held):
            response = Response(
                status_code=NOT_MODIFIED,
                headers={"etag": tag, "cache-control": CHECKED, "vary": VARY},
            )
        else:
            response = await self._full(params, endpoint, answer, form)
        if response.status_code == NOT_MODIFIED:
            self.metrics.not_modified.labels(endpoint.path).inc()
        return response

    async def _full(
        self, params: Params, endpoint: Endpoint, answer: Answer, form: Format
    ) -> Response:
        """The response for a client that holds nothing."""
        request = params.request
        if endpoint.timed:
            return await self._whole(request, await self.body(params, endpoint, answer, form), {})
        query = _labelled(request, form)
        tag = await self.validators.label(query)
        lifetime = await self.validators.lifetime(params.block("as_of"))
        headers = {"etag": tag, "cache-control": lifetime}
        if form is not Format.JSON and not params.has("limit"):
            return await self._stream(params, endpoint, answer, form, headers)
        body = await self.body(params, endpoint, answer, form)
        return await self._whole(request, body, headers)

    async def body(self, params: Params, endpoint: Endpoint, answer: Answer, form: Format) -> Body:
        """A page of a list, or what is no list."""
        if form is Format.JSON or endpoint.table is None:
            return Body(await self._encoded(params, endpoint, answer), form)
        content, more = await self.exports.page(endpoint.table, form, answer, params)
        return Body(content, form, more)

    async def _encoded(self, params: Params, endpoint: Endpoint, answer: Answer) -> bytes:
        async def make() -> bytes:
            return _encoder.encode(await answer(params))

        scope = params.request.scope
        question = scope["path"], scope["query_string"]
        if endpoint.name in KEPT or (endpoint.name in KEPT_AGAIN and self.again.seen(question)):
            return await self.kept.get(question, make)
        return await make()

    async def sold(self, request: Request, body: Body, headers: Mapping[str, str]) -> Response:
        """A body that was paid, for its payer alone."""
        return await self._whole(request, body, {**headers, "cache-control": f"private, {UNKEPT}"})

    async def _whole(self, request: Request, body: Body, headers: Mapping[str, str]) -> Response:
        content, said = body.content, {"cache-control": UNKEPT, "vary": VARY, **headers}
        if body.more is not None:
            said["link"] = _next_link(request, body.more)
        accepted = combined(request.headers, ACCEPT_ENCODING)
        coding = coding_for(accepted)
        worth = len(content) >= MIN_BYTES and body.form is not Format.PARQUET
        if coding is not None and (worth or not takes_as_it_is(accepted)):
            said["content-encoding"] = coding
            if len(content) < IN_THREAD_BYTES:
                content = compressed(coding, content)
            else:
                content = await asyncio.to_thread(compressed, coding, content)
        is_plain = request.scope["path"].endswith(VALUE)
        return Encoded(content, said, PLAIN_TEXT if is_plain else body.form.content_type)

    async def _stream(
        self,
        params: Params,
        endpoint: Endpoint,
        answer: Answer,
        form: Format,
        headers: Mapping[str, str],
    ) -> Response:
        assert endpoint.table is not None, "only lists have other forms than JSON"
        request = params.request
        parts = await self.exports.whole(endpoint.table, form, answer, params)
        said = {"vary": VARY, **headers}
        accepted = combined(request.headers, ACCEPT_ENCODING)
        coding = coding_for(accepted)
        if coding is not None and (form is not Format.PARQUET or not takes_as_it_is(accepted)):
            said["content-encoding"] = coding
            parts = compressed_stream(coding, parts)
        if request.method == "HEAD":  # a body that nobody reads is not made
            response = Response(headers=said, media_type=form.content_type)
            # Of no length that is known: a length of nothing would be another one than GET's.
            del response.headers["content-length"]
            return response
        return StreamingResponse(parts, headers=said, media_type=form.content_type)


def _next_link(request: Request, more: Mapping[str, str]) -> str:
    """RFC 8288: a list in a form without a cursor goes on at this address."""
    items = [item for item in request.query_params.multi_items() if item[0] not in more]
    return f'<?{urlencode([*items, *more.items()])}>; rel="next"'
