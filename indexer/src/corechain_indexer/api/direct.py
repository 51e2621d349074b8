"""Queries past the application: from the parser to the handler, from its bytes to the socket.

A scope with its middleware, a list of routes and two messages a request cost more than most
answers. What is asked plainly (GET, a path of the table, no body) comes here; all else (HEAD, other
methods, escaped paths, absolute targets) takes the application's way, with the same answer.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from corechain.protocol.errors import Overloaded
from corechain.service.direct import Answer, DirectRequest, Fields
from corechain_indexer.api.app import Api, Handler, problem
from corechain_indexer.api.routes import ENDPOINTS
from corechain_indexer.api.wishes import STREAMS

_LENGTH = b"content-length"
_OVERLOADED = Overloaded("more queries than can be answered in time")
_JSON = frozenset((b"*/*", b"application/json"))
PathParams = dict[str, str]


class Table:
    """Handlers by path: one dictionary for those without parameters, one expression for the others,
    in the table's order."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._fixed = {path.encode(): handler for path, handler in handlers.items()}
        self._patterns: Sequence[tuple[re.Pattern[str], Handler]] = [
            (re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))), handler)
            for path, handler in handlers.items()
            if "{" in path
        ]

    def find(self, path: bytes) -> tuple[Handler, PathParams] | None:
        """None for a path that is none of the table's, or is escaped."""
        handler = self._fixed.get(path)
        if handler is not None:
            return handler, {}
        # One of the streams' paths looks like a batch's.
        if b"%" in path or not path.isascii() or path in STREAMS:
            return None
        text = path.decode()
        for pattern, handler in self._patterns:
            found = pattern.fullmatch(text)
            if found is not None:
                return handler, found.groupdict()
        return None


@dataclass(slots=True)
class DirectQueries:
    """A `DirectPath`. A request's `context` is its handler with the parameters of its path."""

    api: Api
    table: Table = field(init=False)
    _refusal: Answer = field(init=False)
    most_bytes: int = 0
    timeout_s: float = 0.0
    """Of a body: there is none."""
    _tasks: "dict[DirectRequest, asyncio.Task[None]]" = field(default_factory=dict)
    _coming: int = 0
    """Requests whose tasks have not begun."""
    _refused: Callable[[], None] = field(init=False)
    _found: tuple[Handler, PathParams] | None = None
    """Of the request whose head has just been read: `takes` comes right before `begin`."""

    def __post_init__(self) -> None:
        self._refusal = _answer_of(problem(_OVERLOADED))
        self._refused = self.api.metrics.refused.labels(_OVERLOADED.name).inc
        self.table = Table({item.path: self.api.handler(item) for item in ENDPOINTS})

    def takes(self, method: bytes, target: bytes, headers: Fields) -> bool:
        if method != b"GET" or not _asks_for_json(target, headers):
            return False
        self._found = self.table.find(target.partition(b"?")[0])
        return self._found is not None

    def begin(self, request: DirectRequest) -> None:
        request.context = self._found

    def chunk(self, request: DirectRequest, chunk: bytes) -> None:
        """There is none."""

    def body_late(self, request: DirectRequest) -> None:
        """There is none."""

    def left(self, request: DirectRequest) -> None:
        """Before the end of a head without a body there is nothing to leave."""

    def handle(self, request: DirectRequest) -> None:
        # Those whose tasks have not begun are at no gate yet: hundreds may be read in one turn.
        if self.api.gates.all.is_hopeless(self._coming):
            # Here, where it costs least: an API that spends itself on refusals answers nobody.
            request.answer(self._refusal)
            self._refused()
            return
        self._coming += 1
        # Held until it is answered: the loop itself holds no task. A callback at its end would be
        # one more turn of the loop.
        self._tasks[request] = request.loop.create_task(self._answer(request))

    async def _answer(self, direct: DirectRequest) -> None:
        self._coming -= 1
        handler, path_params = direct.context
        request = _request(direct, path_params)
        try:
            response = await handler(request)
        except Exception as error:
            response = await self.api.broken(request, error)
        finally:
            del self._tasks[direct]
        direct.answer(_answer_of(response))


class _Fields(Headers):
    """Header fields of a request, of which most that are looked for are not there: Starlette looks
    at all of them each time, and makes an exception of each."""

    def __init__(self, fields: Fields) -> None:
        self._list = list(fields)
        self._names = {name for name, _ in fields}

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and _name(key) in self._names

    def get(self, key: str, default: Any = None) -> Any:
        name = _name(key)
        if name not in self._names:
            return default
        return next(value for known, value in self._list if known == name).decode("latin-1")

    def getlist(self, key: str) -> list[str]:
        name = _name(key)
        if name not in self._names:
            return []
        return [value.decode("latin-1") for known, value in self._list if known == name]


@lru_cache(maxsize=128)  # more than we look for
def _name(key: str) -> bytes:
    return key.lower().encode("latin-1")


class _Query(Request):
    """A request that came by the direct path: every answer looks at its fields, five times."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._headers: Headers = _Fields(scope["headers"])

    @property
    def headers(self) -> Headers:
        return self._headers


def _asks_for_json(target: bytes, headers: Fields) -> bool:
    """Other forms may be streams of any length, which only the application writes."""
    if b"format=" in (unquote_to_bytes(target) if b"%" in target else target):
        return False
    return all(value in _JSON for name, value in headers if name == b"accept")


def _request(direct: DirectRequest, path_params: PathParams) -> Request:
    """As the server describes one to the application."""
    path, _, query = direct.target.partition(b"?")
    peer, scheme = direct.origin
    return _Query(
        {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": scheme,
            "path": path.decode(),
            "raw_path": path,
            "root_path": "",
            "query_string": query,
            "headers": direct.headers,
            "client": (peer, 0),
            "path_params": path_params,
        }
    )


def _answer_of(response: Response) -> Answer:
    headers = [item for item in response.raw_headers if item[0] != _LENGTH]
    return Answer(response.status_code, headers, bytes(response.body))
