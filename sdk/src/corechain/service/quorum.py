"""Several nodes that must agree, asked as if they were one.

What enough of them say alike is believed, and nothing else: a node that lies, lags or is silent
costs questions, and at most delays (docs/decisions/0031-nodes-that-must-agree.md). Not for sending
transactions: for a node each is another request.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import structlog

from corechain.service.agreement import Named, Poll, is_tagged, newest_named, without_bloom
from corechain.service.errors import NodeBehind, NodeRefused, NodesDisagree, NodeUnavailable
from corechain.service.finality import has_no_tag
from corechain.service.members import Lost, Member
from corechain.service.node_names import place_of
from corechain.service.node_words import Dispute, heads_of, sentences
from corechain.service.rpc import Block, Call, Questions, Rpc
from corechain.service.words import parse_block

log = structlog.get_logger(__name__)

ASK_MORE_AFTER_S = 1.0
"""Who is asked first may hang; the others are asked without waiting for its timeout."""
ALL_HEADS_EVERY_S = 10.0
"""While nothing happens one node is asked; so often all are, or one that stands still or wants to
come back would be noticed with the next block only."""
LATEST = Call("eth_getBlockByNumber", ("latest", False))


@dataclass(slots=True)
class _Round:
    """One poll while it runs: who is still to be asked, in order, and who was and is silent."""

    poll: Poll
    groups: list[list[Member]]
    wait_s: float | None = None
    """How long an answer is waited for once everyone was asked; None: as long as it takes."""
    for_few: bool = False
    """Nobody waits for those who are silent once one has answered."""
    under_way: dict["asyncio.Task[list[Any]]", Member] = field(default_factory=dict)

    def ask(self, members: Sequence[Member]) -> None:
        for member in members:
            task = asyncio.create_task(member.ask(self.poll.calls))
            self.under_way[task] = member

    @property
    def patience_s(self) -> float | None:
        if self.groups or (self.for_few and self.poll.ballots):
            return ASK_MORE_AFTER_S
        return self.wait_s

    def may_settle(self) -> bool:
        return self.poll.may_settle(len(self.under_way))

    def ask_more(self) -> bool:
        """False when everyone was asked."""
        if not self.groups:
            return False
        self.ask(self.groups.pop(0))
        return True


class Quorum(Questions):
    """`quorum` of the nodes at `urls` must say the same.

    `max_lag` blocks is the head of a node that keeps up from the agreed one. `noticed` gets number
    and reason of each node that is left out. `chain_id`: what each has to serve; None: not asked.
    """

    few_after_s: float = float("inf")
    """After so long without enough answers, what all who do answer say alike is believed."""
    told_by_few: int = 0
    """How many answers were believed so."""

    def __init__(
        self,
        urls: Sequence[str],
        quorum: int,
        timeout_s: float,
        max_lag: int,
        noticed: Callable[[int, str], None] = lambda number, reason: None,
        clock: Callable[[], float] = time.monotonic,
        chain_id: int | None = None,
        node: type[Rpc] = Rpc,
    ) -> None:
        self.members = [
            Member(n, node(url, timeout_s, clock), chain_id) for n, url in enumerate(urls, start=1)
        ]
        self.quorum, self._max_lag, self._lost = quorum, max_lag, Lost()
        self.places = {n: place_of(url) for n, url in enumerate(urls, start=1)}
        self._noticed, self._clock = noticed, clock
        self._agreed: Block | None = None
        self._agreed_at = float("-inf")
        self._all_asked_at = float("-inf")
        # Not in turns: questions come in patterns, and one node might never be asked about logs.
        self._chance = random.Random()

    def in_time(self, few_after_s: float) -> "Quorum":
        """The same nodes for who has a deadline: when fewer than must agree have answered for so
        long, those who answer and say the same are believed. Closing one closes both."""
        twin = copy(self)
        twin.few_after_s = few_after_s
        return twin

    def lost_s(self) -> float:
        """Seconds since fewer nodes than must agree have answered; 0 while they do."""
        return self._lost.seconds(self._clock())

    def unsure_s(self) -> float:
        """As `lost_s`; also since those who answer contradict each other and no others are left."""
        return self._lost.unsure(self._clock())

    @property
    def is_by_few(self) -> bool:
        """Whether fewer nodes than the quorum are believed now."""
        return self._lost.since is not None and self.lost_s() >= self.few_after_s

    async def close(self) -> None:
        late = [task for member in self.members for task in member.late]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for member in self.members:
            await member.rpc.close()

    def stir(self) -> None:
        """Something is said to be new: the next head is asked of all nodes."""
        self._all_asked_at = float("-inf")

    def warnings(self) -> list[str]:
        """Who is left out: by number, as anybody may read it."""
        few_s = self.lost_s() if self.is_by_few else None
        return sentences(self.members, self.quorum, few_s, self._dispute())

    def _dispute(self) -> Dispute | None:
        methods = sorted(self._lost.disputes)
        return Dispute(methods, self.unsure_s()) if methods else None

    # --------------------------------------------------------------------- questions

    async def call(self, method: str, *params: Any) -> Any:
        """What the nodes agree on. Raises NodeUnavailable, NodeRefused."""
        (answer,) = await self.call_many([Call(method, params)])
        if isinstance(answer, NodeRefused):
            raise answer
        return answer

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """As `call_many`; each node is asked in as many requests as it wants."""
        return await self.call_many(calls)

    async def call_many(self, calls: Sequence[Call]) -> list[Any]:
        """What the nodes agree on, in order; a call that too many refuse stands as a NodeRefused.

        Raises NodeUnavailable: QuorumLost, NodesDisagree, NodeBehind.
        """
        calls = [await self._at_agreed_head(call) for call in calls]
        poll = await self._polled(calls)
        answers = self._believed(poll)
        for place in poll.tagged:
            answers[place] = await self._tagged(poll, place)
        return answers

    def _believed(self, poll: Poll) -> list[Any]:
        """As `Poll.answers`; for how long there are none is measured."""
        try:
            answers = poll.answers()
        except NodesDisagree:
            self._lost.disputed(poll.calls, self._clock())
            raise
        self._lost.agreed(poll.calls)
        return answers

    async def _at_agreed_head(self, call: Call) -> Call:
        """The state of "the latest block" is another one for each node."""
        if is_tagged(call) or not call.params or call.params[-1] != "latest":
            return call
        head = self._agreed
        if head is None or self._clock() - self._agreed_at >= ALL_HEADS_EVERY_S:
            head = await self.head()
        return Call(call.method, (*call.params[:-1], hex(head.number)))

    async def head(self) -> Block:
        """The newest block that enough nodes have. Raises QuorumLost, NodesDisagree."""
        self._agreed_at = self._clock()
        unchanged = await self._unchanged()
        if unchanged is not None:
            return unchanged
        self._all_asked_at = self._clock()
        poll = await self._polled([LATEST], everyone=True)
        self._believed(poll)
        raw = await self._tagged(poll, 0)
        if raw is None or isinstance(raw, NodeRefused):
            raise NodeUnavailable("the nodes have no latest block")
        self._agreed = parse_block(raw)
        for member in self.members:
            self._judge_head(poll, member, self._agreed)
        return self._agreed

    async def _unchanged(self) -> Block | None:
        """The agreed head, when one of those that have it says that it still is the newest. So an
        idle turn costs one question, however many nodes there are."""
        agreed = self._agreed
        if agreed is None or self._clock() - self._all_asked_at >= ALL_HEADS_EVERY_S:
            return None
        holders = [m for m in self._trusted() if m.holds(agreed) and not m.late]
        if not holders:
            return None
        poll = await self._run(_Round(Poll([LATEST], 1), [holders[:1]], ASK_MORE_AFTER_S))
        said = poll.named_by(0).blocks.get(holders[0].number)
        return agreed if said is not None and said.hash == agreed.hash else None

    async def _tagged(self, poll: Poll, place: int) -> Any:
        """The block of a tag: one that enough nodes name, or the highest that enough of them have
        reached and agree on. An error that says so where enough know no such tag; null where it is
        not known what they call by it. Raises NodesDisagree for "latest" alone: a head must be."""
        named = poll.named_by(place)
        nodes = named.alike(poll.quorum)
        if nodes:
            self._judge_tag(named, named.blocks[nodes[0]])
            return poll.with_common_bloom(place, nodes)
        if named.silent >= poll.quorum:
            return self._untold(poll, place)
        for number in self._heights(poll.calls[place], named.candidates(poll.quorum)):
            try:
                raw = await self.call("eth_getBlockByNumber", hex(number), False)
            except (NodeBehind, NodeRefused):
                continue
            if raw is not None:
                self._judge_tag(named, parse_block(raw))
                return raw
        if poll.calls[place] != LATEST:
            # One node that knows no tag, or refuses, must not keep the blocks from being read.
            return None
        self._lost.disputed([LATEST], self._clock())
        tag, heads = poll.calls[place].params[0], heads_of(named.blocks)
        raise NodesDisagree(f"the nodes agree on no block as {tag}: {heads}{poll.silent()}")

    def _untold(self, poll: Poll, place: int) -> Any:
        """That too few nodes say more than null or an error; "no such tag" when enough say that."""
        denials = [b.answers[place] for b in poll.ballots.values() if has_no_tag(b.answers[place])]
        return denials[0] if len(denials) >= poll.quorum else None

    def _heights(self, call: Call, said: Sequence[int]) -> list[int]:
        """Where to look for a block that they agree on. While they are on two branches, that is
        the newest one known from before."""
        if call != LATEST or self._agreed is None:
            return list(said)
        return sorted({*said, self._agreed.number}, reverse=True)

    # ----------------------------------------------------------------------- asking

    def _trusted(self) -> list[Member]:
        """In another order each time: nobody is asked more than the others, or never."""
        turned = self._chance.sample(self.members, len(self.members))
        return [member for member in turned if member.standing.is_trusted]

    def _groups(self, needed: int, everyone: bool) -> list[list[Member]]:
        """Who is asked first, who then, and who at last. Whoever is left out and due is asked along
        with the first, so that it can come back; nobody waits for it. Who still has a question to
        answer gets the next one only when it is needed: a node that hangs would collect them."""
        now, trusted = self._clock(), self._trusted()
        ready = sorted((m for m in trusted if not m.late), key=lambda m: m.height < needed)
        busy = [member for member in trusted if member.late]
        count = len(ready) if everyone else self.quorum
        out = [member for member in self.members if not member.standing.is_trusted]
        due = [member for member in out if member.standing.is_due(now) and not member.late]
        others = [member for member in out if member not in due]
        return [part for part in (ready[:count] + due, ready[count:] + busy, others) if part]

    async def _polled(self, calls: Sequence[Call], *, everyone: bool = False) -> Poll:
        groups, for_few = self._groups(newest_named(calls), everyone), self.is_by_few
        running = _Round(Poll(calls, self.quorum), groups, for_few=for_few)
        poll = await self._run(running)
        self._lost.heard(len(poll.ballots) >= self.quorum, self._clock())
        is_of_few = 0 < len(poll.ballots) < self.quorum and self.is_by_few
        self.told_by_few += is_of_few
        return poll.among(len(poll.ballots)) if is_of_few else poll

    async def _run(self, running: _Round) -> Poll:
        """Asks until it is settled, or everyone has answered, or nobody did in time."""
        running.ask_more()
        try:
            while running.under_way and not running.poll.is_settled():
                if not await self._hear_some(running) and not running.ask_more():
                    break
                while not running.may_settle() and running.ask_more():
                    pass
        except BaseException:
            for task in running.under_way:
                task.cancel()
            raise
        self._leave_to_finish(running)
        self._judge(running.poll)
        return running.poll

    async def _hear_some(self, running: _Round) -> bool:
        """Takes the answers that have come. False when none came in time."""
        done, _ = await asyncio.wait(
            running.under_way, timeout=running.patience_s, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            self._hear(running.poll, running.under_way.pop(task), task)
        return bool(done)

    def _hear(self, poll: Poll, member: Member, task: "asyncio.Task[list[Any]]") -> None:
        reason = ""
        try:
            answers = task.result()
            reason = "malformed"
            poll.hear(member.number, answers)
        except NodeUnavailable as error:
            poll.fail(member.number, str(error))
            self._blame(member, reason or error.fault, str(error), error.wait_s)
            return
        if poll.calls[0] == LATEST:
            member.head = poll.named_by(0).blocks.get(member.number)

    def _leave_to_finish(self, running: _Round) -> None:
        """Who has not answered yet is not cut off, which would cost its connection, and is judged
        when it answers."""
        for task, member in running.under_way.items():
            member.late.add(task)
            task.add_done_callback(self._late(running.poll, member))

    def _late(self, poll: Poll, member: Member) -> Callable[["asyncio.Task[list[Any]]"], None]:
        def heard(task: "asyncio.Task[list[Any]]") -> None:
            member.late.discard(task)
            if not task.cancelled():
                self._hear(poll, member, task)
                self._judge(poll, only=member)
                if poll.calls[0] == LATEST and self._agreed is not None:
                    self._judge_head(poll, member, self._agreed)

        return heard

    # ---------------------------------------------------------------------- judging

    def _blame(self, member: Member, reason: str, why: str = "", least_s: float = 0.0) -> None:
        member.is_of_chain = False
        if member.standing.blame(reason, self._clock(), least_s):
            self._noticed(member.number, reason)
            place = self.places[member.number]
            log.warning("node left out", node=member.number, at=place, reason=reason, why=why[:200])

    def _judge(self, poll: Poll, only: Member | None = None) -> None:
        wrong, newest = poll.contradicting(), newest_named(poll.calls)
        for member in self.members if only is None else [only]:
            reason = wrong.get(member.number)
            if reason == "logs" and member.height < newest:
                continue  # it may not have seen the blocks, and says so by leaving logs out
            if reason is not None:
                self._blame(member, reason)
            elif member.number in poll.agreed() and len(poll.tagged) < len(poll.calls):
                self._agreed_with(member)

    def _judge_tag(self, named: Named, agreed: Block) -> None:
        for member in self.members:
            said = named.blocks.get(member.number)
            if said is not None and said.number == agreed.number and said.hash != agreed.hash:
                self._blame(member, "block")

    def _agreed_with(self, member: Member) -> None:
        was = member.standing.reason
        member.standing.agreed(self._clock())
        if was and member.standing.is_trusted:
            log.info("node is asked again", node=member.number, was=was)

    def _judge_head(self, poll: Poll, member: Member, agreed: Block) -> None:
        """By its head: whether it is far off for long, or another block where all have one."""
        said, now = poll.named_by(0).blocks.get(member.number), self._clock()
        if said is None:
            return
        off = said.number - agreed.number
        if abs(off) > self._max_lag:
            if member.standing.strayed(now):
                self._blame(member, "behind" if off < 0 else "ahead")
            return
        member.standing.kept_up()
        differs = {0: said != without_bloom(agreed), -1: said.hash != agreed.parent}
        if differs.get(off, False):
            self._blame(member, "block")
        elif off == 0:
            self._agreed_with(member)


__all__ = ["Member", "Quorum"]
