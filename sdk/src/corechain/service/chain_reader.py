"""Reads the chain piece by piece behind what is known of it, and takes no piece for whole unproven.

The nodes behind one address are not one node: one tells the head, another that lags tells the logs,
and leaves out what it has not seen. So (docs/decisions/0010-complete-or-asked-again.md):

* Near the head every header is read, linked to the one before, and every log must name the hash of
  its height. A header whose bloom filter claims a log of ours that did not come is asked about by
  hash.
* Deep below the head, where all is final, a range and the header of its end are one JSON-RPC batch,
  which one node answers; its last log must name the canonical hash.
* A block is gone only when another one is served in its place. Null means "not seen yet".
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile
from typing import Any, NamedTuple

import structlog

from corechain.service.blooms import claims, explained, is_telling, mask_of
from corechain.service.chain_questions import (
    MARKS,
    by_number,
    header_in,
    place_of,
    ref_of,
    safe_in,
)
from corechain.service.errors import AnswerOverLimit, NodeBehind, NodeRefused, NodeUnavailable
from corechain.service.finality import Finality
from corechain.service.forks import SET_BACK_AFTER_S, ForkFinder
from corechain.service.known_chain import Behind, Change, Extended, Final, Known, UpToDate
from corechain.service.log_table import leading, parse_logs, read_logs
from corechain.service.reconcile import Ref
from corechain.service.rpc import BATCH_CALLS, Call, Questions, log_query
from corechain.service.words import Block, Log, to_hex

log = structlog.get_logger(__name__)

NEAR_BLOCKS = 256
"""So far below the head headers are read whatever is called final: nodes of one provider differ by
seconds, and 256 blocks are a minute on the fastest chains (0.25 s a block)."""
REQUESTS_AT_ONCE = 8
HEADERS_AT_ONCE = REQUESTS_AT_ONCE * BATCH_CALLS - 3
"""With the logs, the final and the safe block what so many HTTP requests carry that are asked
together: what is not final is 5,000 blocks long on Arbitrum, and every start reads it."""
LOGS_AT_ONCE = 8_000
"""Logs that one range should bring: memory goes with them (measured: 130 MB at 10,000, 382 MB at
200,000), and above 5,000 the speed no longer does."""
FIRST_RANGE_BLOCKS = 64
"""Doubled after each range that brought few logs: the first one must not be a million of them."""
GROWTH, GROWTH_ONCE_REFUSED = 2.0, 1.25
"""A range that a node refused is refused again when it is doubled at once: half of all questions
would be asked in vain."""
FAR_FOR_S = 5.0
"""So long head and final block are not asked for again while pieces far below them are read: they
only say where that ends, and two of three requests were for them."""
QUESTIONS_AT_ONCE = 8
"""Requests in flight where a node takes no batches, or blocks are asked about one by one."""


class _Ahead(NamedTuple):
    """Head and final block while there is much to read below them, and when they were asked for."""

    head: Block
    final: Final
    asked_at: float

    def is_far_from(self, tip: Ref | None) -> bool:
        """Whether the next piece is one of those, and they are not too old for it."""
        end = min(self.final.number, self.head.number - NEAR_BLOCKS)
        is_new = time.monotonic() < self.asked_at + FAR_FOR_S
        return is_new and tip is not None and tip.number < end


@dataclass(slots=True)
class ChainReader:
    """Reads the logs of some contracts from `first_block` on. Remembers only how the node behaves.

    `noticed` is called when an answer was incomplete: "logs" were left out and found by hash, the
    node was "behind" what we know or what it said itself, or it did not tell what is "final".
    """

    rpc: Questions
    addresses: Sequence[bytes]
    first_block: int
    max_range: int
    confirmations: int
    noticed: Callable[[str], None] = lambda reason: None
    set_back_after_s: float = SET_BACK_AFTER_S
    logs_at_once: int = LOGS_AT_ONCE
    behind: str = ""
    """Why the last look ended in asking again; empty when it did not."""
    finality: Finality | None = None
    """What is known of the node's final block; readers of one node may share it."""
    topics: Sequence[bytes] = ()
    """Kinds of logs that are read; none: all."""
    _masks: Sequence[int] = field(init=False)
    _kinds: Sequence[int] = field(init=False)
    _step: int = field(init=False)
    _growth: float = GROWTH
    _blooms_lie: bool = False
    _batch: int = BATCH_CALLS
    _forks: ForkFinder = field(init=False)
    _ahead: _Ahead | None = None

    def __post_init__(self) -> None:
        self._forks = ForkFinder(self.rpc, self.set_back_after_s)
        if self.finality is None:
            self.finality = Finality(self.confirmations, lambda: self.noticed("final"))
        self._step = min(self.max_range, FIRST_RANGE_BLOCKS)
        self._masks = [mask_of(address) for address in self.addresses]
        self._kinds = [mask_of(topic) for topic in self.topics]

    def watch(self, addresses: Sequence[bytes]) -> None:
        """From the next look on the logs of these contracts are read."""
        self.addresses = addresses
        self._masks = [mask_of(address) for address in addresses]

    async def look(self, known: Known) -> Change:
        """What has changed behind or below what is known.

        Raises ChainReplaced, NodeUnavailable.
        """
        tip = await known.tip()
        ahead, self._ahead = self._ahead, None
        is_far = ahead is not None and ahead.is_far_from(tip)
        head = ahead.head if ahead and is_far else await self.rpc.head()
        try:
            change = await self._change(known, tip, head, ahead if is_far else None)
        except NodeBehind as error:
            self.noticed("behind")
            self.behind = str(error)
            return Behind(head, self.behind)
        self.behind = ""
        return change

    def warnings(self) -> list[str]:
        """For `/ready`: that the node keeps us waiting, and with what."""
        behind = [f"the node is behind: {self.behind}"] if self.behind else []
        return [*behind, *self._finality.warnings()]

    @property
    def _finality(self) -> Finality:
        assert self.finality is not None  # made by __post_init__
        return self.finality

    async def _change(
        self, known: Known, tip: Ref | None, head: Block, ahead: _Ahead | None
    ) -> Change:
        if tip is None:
            return await self._begin(head)
        if head.number <= tip.number:
            if (head.number, head.hash) != tip:
                return await self._forks.find(known, tip, head)
            self._forks.caught_up()
            return UpToDate(head)
        self._forks.caught_up()
        if head.number - NEAR_BLOCKS > tip.number:
            if ahead is None:
                asked_at = time.monotonic()
                ahead = _Ahead(head, self._final(await self._ask(MARKS), head), asked_at)
            if ahead.final.number > tip.number:
                change = await self._deep(known, tip, head, ahead.final)
                self._ahead = ahead
                return change
        return await self._near(known, tip, head)

    async def _begin(self, head: Block) -> Extended:
        """The block before the first: it links the first one, and tells this chain from others.

        By the hash that its child names, where there is one: an anvil that was started from a saved
        state serves a genesis of another hash than the one its first block was built on.
        """
        number = max(self.first_block, 1) - 1
        if head.number > number:
            child = head if head.number == number + 1 else await self._block(number + 1)
            return Extended([], [Ref(number, child.parent)], head, Final(0))
        block = head if head.number == number else await self._block(number)
        return Extended([], [ref_of(block)], head, Final(0))

    def _final(self, answers: Sequence[Any], head: Block) -> Final:
        """The node's word on what is final and safe, as far as it may be believed."""
        raw_final, raw_safe = answers
        final, safe = self._finality.judge(raw_final, head), safe_in(raw_safe, head)
        return replace(final, safe=safe.number, safe_hash=safe.hash) if safe else final

    # ---------------------------------------------------------------- near the head

    async def _near(self, known: Known, tip: Ref, head: Block) -> Change:
        first = tip.number + 1
        blocks = min(self._step, self.max_range, HEADERS_AT_ONCE)
        last = min(tip.number + blocks, head.number)
        numbers = [n for n in range(first, last + 1) if n != head.number]
        calls = [*map(by_number, numbers), self._logs_between(first, last), *MARKS]
        *raw, raw_logs, raw_final, raw_safe = await self._ask_range(calls, last - tip.number)
        headers = [header_in(item, n) for item, n in zip(raw, numbers, strict=True)]
        headers += [head] if last == head.number else []
        if headers[0].parent != tip.hash:
            return await self._forks.find(known, tip, head)
        if any(block.parent != before.hash for before, block in pairwise(headers)):
            raise NodeBehind("the node's blocks are of two branches")
        logs = await self._all_logs(headers, self._readable(raw_logs, first, last))
        self._fit(len(logs), len(headers))
        refs = [ref_of(block) for block in headers]
        return Extended(logs, refs, head, self._final([raw_final, raw_safe], head))

    def _readable(self, raw: Any, first: int, last: int) -> Sequence[Log]:
        """A range that is refused, as too large or as not yet seen, is asked for block by block."""
        if raw is None or isinstance(raw, NodeRefused):
            return []
        return self._wanted(read_logs(raw, self.addresses, first, last))

    def _wanted(self, logs: Sequence[Log]) -> Sequence[Log]:
        """Those of the kinds that are read: not every answer goes by the question."""
        if not self.topics:
            return logs
        return [entry for entry in logs if entry.topics and entry.topics[0] in self.topics]

    async def _all_logs(self, headers: Sequence[Block], logs: Sequence[Log]) -> Sequence[Log]:
        """The logs of the range, with those that the node left out."""
        first = leading(logs)
        self._check_hashes(first, {block.number: block for block in headers})
        bearing = {entry.block_number for entry in first}
        silent = [b for b in headers if b.number not in bearing and self._may_hold(b)]
        places = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        found = await asyncio.gather(*(self._logs_of(block, places) for block in silent))
        if not any(found):
            return logs
        self.noticed("logs")
        log.info("the node left out logs", blocks=sum(map(bool, found)))
        return sorted([*logs, *(entry for part in found for entry in part)], key=place_of)

    def _check_hashes(self, logs: Sequence[Log], headers: Mapping[int, Block]) -> None:
        """Each log is of the block that its height has. A filter that denies one is not believed
        again: some layer-2 nodes send filters of zeros."""
        looked_up = set()
        for entry in logs:
            block = headers[entry.block_number]
            if entry.block_hash != block.hash:
                raise NodeBehind(f"logs of another block {block.number}")
            # Once a block and contract: a filter is 2,048 bits, and blocks have many logs.
            if (place := (entry.block_number, entry.address)) in looked_up:
                continue
            looked_up.add(place)
            bloom = block.logs_bloom
            if bloom is not None and not claims(bloom, [mask_of(entry.address)]):
                self._blooms_lie = True

    def _may_hold(self, block: Block) -> bool:
        bloom = block.logs_bloom
        if bloom is None or self._blooms_lie:
            return True
        return claims(bloom, self._masks) and (not self._kinds or claims(bloom, self._kinds))

    async def _logs_of(self, block: Block, places: asyncio.Semaphore) -> Sequence[Log]:
        """Our logs of a block, from a node that proves to know it. Raises NodeBehind."""
        bloom = block.logs_bloom
        async with places:
            if bloom is not None and is_telling(bloom) and not self._blooms_lie:
                every = await self._by_hash(block, [])
                if every is not None:
                    if not explained(bloom, every):
                        raise NodeBehind(f"logs of block {block.number} are missing")
                    return self._wanted([e for e in every if e.address in self.addresses])
            ours = await self._by_hash(block, self.addresses)
        if ours is None:
            raise NodeBehind(f"the node has no logs of block {block.number} yet")
        return self._wanted(ours)

    async def _by_hash(self, block: Block, addresses: Sequence[bytes]) -> list[Log] | None:
        """Logs of a block, asked together with the block; None when they are refused."""
        name = to_hex(block.hash)
        query = log_query(addresses, [], {"blockHash": name})
        if not addresses:
            del query["address"]  # an empty list means "of nobody" to some nodes
        calls = [Call("eth_getBlockByHash", (name, False)), Call("eth_getLogs", (query,))]
        raw, raw_logs = await self._ask(calls)
        if header_in(raw, block.number).hash != block.hash:
            raise NodeUnavailable(f"the node sent another block than {name}")
        if isinstance(raw_logs, AnswerOverLimit) and addresses:
            # The smallest that can be asked for: to wait for the node would not help.
            raise NodeUnavailable(f"logs of block {block.number}: {raw_logs}") from raw_logs
        if raw_logs is None or isinstance(raw_logs, NodeRefused):
            return None
        logs = parse_logs(raw_logs, addresses, [], block.number, block.number)
        self._check_hashes([e for e in logs if e.address in self.addresses], {block.number: block})
        return logs

    # ------------------------------------------------------------------------- deep

    async def _deep(self, known: Known, tip: Ref, head: Block, final: Final) -> Change:
        end = min(final.number, head.number - NEAR_BLOCKS)
        while True:
            last = min(tip.number + self._step, end)
            first = tip.number + 1
            calls = [by_number(first), self._logs_between(first, last), by_number(last)]
            raw_first, raw_logs, raw_last = await self._ask_range(calls, last - tip.number)
            if header_in(raw_first, first).parent != tip.hash:
                return await self._forks.find(known, tip, head)
            through = header_in(raw_last, last)
            if not isinstance(raw_logs, NodeRefused):
                break
            self._shrink(raw_logs)
        logs = self._wanted(read_logs(raw_logs, self.addresses, first, last))
        if left_out := await self._end_of(logs, through):
            logs = [*logs, *left_out]
        self._fit(len(logs), last - tip.number)
        return Extended(logs, [ref_of(through)], head, final)

    async def _ask_range(self, calls: Sequence[Call], blocks: int) -> list[Any]:
        """About a range. A node that fails over it, by a timeout or by an answer without end, is
        asked for half of it when it is asked again. Raises NodeUnavailable."""
        try:
            return await self._ask(calls)
        except NodeUnavailable:
            self._halve(blocks)
            raise

    def _halve(self, blocks: int) -> None:
        self._step = max(1, blocks // 2)
        self._growth = GROWTH_ONCE_REFUSED

    def _fit(self, logs: int, blocks: int) -> None:
        """The next range, from what this one brought; what comes after it may be denser."""
        fitting = blocks * self.logs_at_once // logs if logs else self.max_range
        # The last range before the head is short for another reason: it makes none shorter.
        longest = max(self._step, blocks + 1, int(blocks * self._growth))
        self._step = max(1, min(fitting, longest, self.max_range))

    async def _end_of(self, logs: Sequence[Log], through: Block) -> Sequence[Log]:
        """Checks the last block that has a log: when it is canonical, so are those before it, which
        are its ancestors on the chain of the node that answered. What the very last block of the
        range holds, if nothing came of it."""
        newest = logs[-1].block_number if logs else None
        if newest is not None:
            block = through if newest == through.number else await self._block(newest)
            # From behind: not every log of a range is worth being made an object for this.
            its_own = takewhile(lambda entry: entry.block_number == newest, reversed(logs))
            self._check_hashes(list(its_own), {newest: block})
        if newest == through.number or not self._may_hold(through):
            return []
        return await self._logs_of(through, asyncio.Semaphore(1))

    def _shrink(self, error: NodeRefused) -> None:
        if self._step == 1:
            raise NodeUnavailable(f"logs of a single block: {error}") from error
        self._halve(self._step)
        log.info("range halved", blocks=self._step, reason=str(error))

    # --------------------------------------------------------------------- questions

    def _logs_between(self, first: int, last: int) -> Call:
        span = {"fromBlock": hex(first), "toBlock": hex(last)}
        kinds = [[to_hex(topic) for topic in self.topics]] if self.topics else []
        return Call("eth_getLogs", (log_query(self.addresses, kinds, span),))

    async def _block(self, number: int) -> Block:
        (raw,) = await self._ask([by_number(number)])
        return header_in(raw, number)

    async def _ask(self, calls: Sequence[Call]) -> list[Any]:
        """Results in order, from one node if it can be; a refused call stands as NodeRefused."""
        while self._batch > 1:
            try:
                return await self._in_batches(calls)
            except NodeRefused as error:  # as too many calls, or because there are no batches here
                self._batch //= 2
                log.info("batch halved", calls=self._batch, reason=str(error))
        places = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        return await asyncio.gather(*(self._ask_one(call, places) for call in calls))

    async def _in_batches(self, calls: Sequence[Call]) -> list[Any]:
        parts = [calls[at : at + self._batch] for at in range(0, len(calls), self._batch)]
        places = asyncio.Semaphore(REQUESTS_AT_ONCE)

        async def ask(part: Sequence[Call]) -> list[Any]:
            async with places:
                return await self.rpc.call_many(part)

        if len(parts) == 1:
            return await self.rpc.call_many(calls)
        found = await asyncio.gather(*map(ask, parts), return_exceptions=True)
        answers: list[Any] = []
        for part in found:
            if isinstance(part, BaseException):
                raise part
            answers += part
        return answers

    async def _ask_one(self, call: Call, places: asyncio.Semaphore) -> Any:
        async with places:
            try:
                return await self.rpc.call(call.method, *call.params)
            except NodeRefused as error:
                return error
