"""The contracts behind several nodes that must agree, for commands: blocking, as `Chain`.

What is read is what enough nodes say alike (`corechain.service.quorum`). What is each node's own,
its pool, fees and estimates, is asked of each: the middle one counts. A transaction goes to all.
"""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from corechain.chain import Chain
from corechain.deployment import Deployment
from corechain.node import AnswerLost, Call, ChainUnavailable, Node, NodeRefusal, UnfitAnswer
from corechain.rpc_errors import may_have_acted
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.node_settings import NodeSettings
from corechain.service.nodes import node_at
from corechain.service.rpc import Call as Question
from corechain.service.rpc import Questions
from corechain.service.several import GRACE_S, ask_all, ask_each, known_to_any, middle, taken_by_any
from corechain.service.words import read_json

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
EACH_HAS_ITS_OWN = ("eth_estimateGas", "eth_gasPrice", "eth_maxPriorityFeePerGas")
SEND, FIND, HEAD = "eth_sendRawTransaction", "eth_getTransactionByHash", "eth_blockNumber"


def _is_of_pool(method: str, params: Sequence[Any]) -> bool:
    return method in EACH_HAS_ITS_OWN or (bool(params) and params[-1] == "pending")


def _refusal(error: NodeRefused) -> NodeRefusal:
    return NodeRefusal(error.method, error.code, error.message, error.data)


def _is_unclear(answers: Sequence[Any]) -> bool:
    return may_have_acted(answers[0].code, answers[0].message)


def _plain(answer: Any) -> Any:
    """As `Node` has it. Long answers are compared as they came, and not yet read."""
    if isinstance(answer, NodeRefused):
        return _refusal(answer)
    return read_json(answer, "logs") if isinstance(answer, msgspec.Raw) else answer


@dataclass
class AgreedNode(Node):
    """Asks from a loop in a thread of its own, which ends with the process or with `close`."""

    nodes: Questions = field(kw_only=True)
    _loop: asyncio.AbstractEventLoop = field(init=False, repr=False)
    _thread: threading.Thread = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nodes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._wait(self.nodes.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, method: str, *params: Any) -> Any:
        """As `Node.call`; ChainUnavailable also where too few nodes say the same."""
        try:
            return self._wait(self._ask(method, params))
        except UnfitAnswer:
            raise
        except ChainUnavailable as error:
            if method == SEND:  # one that was silent may have it
                raise AnswerLost(str(error)) from error
            raise

    def call_many(self, calls: Sequence[Call]) -> list[Any]:
        return self._wait(self._ask_all(calls))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return done.result()
        except NodeRefused as error:
            raise _refusal(error) from error
        except NodeUnavailable as error:
            raise ChainUnavailable(str(error)) from error

    async def _ask(self, method: str, params: Sequence[Any]) -> Any:
        call = Question(method, tuple(params))
        if method == HEAD:
            return hex((await self.nodes.head()).number)
        if method == SEND:
            said, complete = await ask_all(self.nodes, [call], GRACE_S)
            refusal = taken_by_any(said, 0)
            if refusal is not None and (not complete or any(map(_is_unclear, said))):
                raise NodeUnavailable(f"not all nodes say that they have not taken it: {refusal}")
            if refusal is not None:
                raise refusal
            return None
        if method == FIND:
            said, complete = await ask_all(self.nodes, [call])
            if not known_to_any(said, 0, complete):
                return None
            return next(answers[0] for answers in said if isinstance(answers[0], dict))
        if _is_of_pool(method, params):
            found = middle(await ask_each(self.nodes, [call]), 0)
            if isinstance(found, NodeRefused):
                raise found
            return found
        await self._go_to_head(call)
        return _plain(await self.nodes.call(method, *params))

    async def _go_to_head(self, *calls: Question) -> None:
        """Who has just sent a transaction reads what came of it: a head that was agreed on some
        seconds ago is of before."""
        if any(call.params and call.params[-1] == "latest" for call in calls):
            self.nodes.stir()
            await self.nodes.head()

    async def _ask_all(self, calls: Sequence[Call]) -> list[Any]:
        """Views and storage alone are asked for together."""
        asked = [Question(name, tuple(params)) for name, params in calls]
        await self._go_to_head(*asked)
        answers = await self.nodes.call_all(asked)
        return [_plain(answer) for answer in answers]


@dataclass
class AgreedChain(Chain):
    """`rpc_url`: the first of the nodes, for messages."""

    nodes: Questions = field(kw_only=True)

    def _new_node(self) -> Node:
        return AgreedNode(self.rpc_url, nodes=self.nodes)


def chain_of(settings: NodeSettings, deployment: Deployment) -> Chain:
    """The contracts behind the node of the settings, or behind several that must agree."""
    urls = settings.node_urls
    if len(urls) == 1:
        return Chain(urls[0], deployment)
    lag, chain_id = settings.rpc_max_lag_blocks, deployment.chain_id
    how = settings.quorum, settings.rpc_timeout_s, lag
    nodes = node_at(urls, *how, chain_id=chain_id, by_depth=settings.finality == "depth")
    return AgreedChain(urls[0], deployment, nodes=nodes)
