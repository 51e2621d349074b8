"""Follows all lanes, has each batch examined, and sees to it that what is wrong has an intent."""

import asyncio
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import structlog

from corechain.protocol.batch import lane_of
from corechain.protocol.inquiry import Wanted
from corechain.protocol.suspects import Standing
from corechain.service.nodes import is_by_few
from corechain.service.rpc import Block
from corechain_relayer.behind import rounds_forever
from corechain_relayer.challenger.again import Again, Doubts
from corechain_relayer.challenger.alerts import (
    FRAUD,
    NO_FUNDS,
    UNPROVABLE,
    WITHHELD,
    ChallengerAlerts,
    withheld,
)
from corechain_relayer.challenger.calls import (
    DisputesCalls,
    Terms,
    approve_call,
    challenge_call,
    demand_call,
    demand_id,
    expire_call,
)
from corechain_relayer.challenger.examining import Asking, Charge, Examiner, LaneBook, asking_for
from corechain_relayer.challenger.expiring import Expiring
from corechain_relayer.challenger.faults import Faults
from corechain_relayer.challenger.following import ALL, LanesFollower
from corechain_relayer.challenger.lanes import Commit
from corechain_relayer.challenger.limits import Limits
from corechain_relayer.challenger.opening import Opened
from corechain_relayer.challenger.spans import Key, name_of
from corechain_relayer.challenger.store import NOTHING_SENT, ChallengerStore, Sent
from corechain_relayer.challenger.wanting import Wanting
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.urgency import NO_DEADLINE, Pace
from corechain_relayer.turns import in_steps

log = structlog.get_logger(__name__)

EXAMINED_A_ROUND = 32
"""Then demands and deadlines have their turn, however many batches wait after a start."""
PLACED_AT_ONCE = 1_000
"""Commitments whose seconds are asked for together: a start has those of days."""
MARGIN_S = 600
"""So long after its window a batch is known still: there are reorgs, and nodes that are ahead."""
LOST_FIRST = ("NoBond", "UnknownBatch", "UnknownDemand", "AlreadyDemanded", "Registered")
"""Refusals that say: somebody else was first, or there is nothing to take any more."""


@dataclass(slots=True)
class Challenger:
    """Level-triggered: each round looks again at what chain, journal and files say. A restart, a
    reorg, a file that comes late need nothing of their own."""

    follower: LanesFollower
    examiner: Examiner
    store: ChallengerStore
    calls: DisputesCalls
    terms: Terms
    limits: Limits
    alerts: ChallengerAlerts
    metrics: Metrics
    work: asyncio.Event
    pace: Pace = field(default_factory=Pace)
    """Of what is to be sent."""
    waiting: int = 0
    """Intents that are in no block."""
    _charges: dict[Key, list[Charge]] = field(default_factory=dict)
    """By batch, found in it."""
    _doubts: Doubts = field(default_factory=Doubts)
    _again: Again = field(init=False)
    _standing: dict[Commit, Standing] = field(default_factory=dict)
    _asking: dict[Key, Opened | None] = field(default_factory=dict)
    """Batches of which something may have to be demanded, with the file that passes for theirs."""
    _ask_at: dict[Key, float] = field(default_factory=dict)
    _odd: set[Key] = field(default_factory=set)
    """Of those being asked: nothing is left to be demanded."""
    _expiring: Expiring = field(init=False)
    _faults: Faults = field(init=False)
    _wanting: Wanting = field(init=False)

    def __post_init__(self) -> None:
        self._again = Again(self.limits.retry_s)
        self._faults = Faults(self.alerts, self.metrics, self._again.later)
        self._expiring = Expiring(self.calls, self.limits.others_after_s)
        self._wanting = Wanting(self.store, self.alerts, self.work)

    async def watch_forever(self, poll_s: float) -> None:
        await rounds_forever(self.round, poll_s)

    async def round(self) -> None:
        """One look at all that can be challenged. Raises the outage that keeps it from that."""
        await self.follower.refresh_or_log()
        head = self.follower.seen
        if head is None:
            return
        undone = self.follower.take_undone()
        self._undo(ALL if self._doubts.are_over(self.calls.rpc) else undone)
        sent = await self.store.sent()
        books = await self._books()
        standing = await self._challengeable(head, books)
        await self._examine(standing, head, books)
        await self._accuse(standing, sent)
        await self._inquire(standing, head, books, sent)
        await self._expire(head, books, sent)
        self._wanting.look()
        self._measure(standing, head, sent)

    def _undo(self, above: int | None) -> None:
        """After a reorg that left the blocks up to `above`, or once enough nodes answer again.
        Newer commitments may rest on other registrations than when they were examined; charges may
        name a batch that is gone."""
        if above is None:
            return
        gone = [commit for commit in self._standing if commit.block > above]
        self._standing = {c: one for c, one in self._standing.items() if c.block <= above}
        keys = {(commit.batch_id, commit.commitment) for commit in gone}
        self.examiner.forget(keys | self._charges.keys())
        self._charges.clear()
        self._doubts.refused.clear()
        self._expiring.forget()
        self._again.forget(keys)

    async def _books(self) -> dict[int, LaneBook]:
        """Of the lanes that have a bond."""
        bonds = await self.calls.bonds_since(sorted(self.follower.view.lanes))
        return {lane: self.examiner.book(lane, since) for lane, since in bonds.items()}

    async def _challengeable(self, head: Block, books: dict[int, LaneBook]) -> list[Standing]:
        """Commitments under a bond whose window is open, oldest first. Others are forgotten."""
        found, gone, commits = [], set[Key](), self.follower.view.in_order()
        await self._place(commits)
        async for commit in in_steps(commits):
            one = self._standing.get(commit)
            book = books.get(lane_of(commit.batch_id))
            since = head.timestamp if one is None else one.committed_at
            over_s = head.timestamp - since - self.terms.challenge_s
            if over_s > MARGIN_S:
                gone.add((commit.batch_id, commit.commitment))
                self._standing.pop(commit, None)
            elif over_s > 0:
                continue
            elif book is not None and one is not None and one.committed_at >= book.since:
                found.append(one)
        self._forget(gone)
        return found

    def _forget(self, gone: set[Key]) -> None:
        if gone:
            self.examiner.drop(gone)
            self._again.forget(gone)
            self._odd -= gone
            self._faults.keys -= gone
            for key in gone:
                self._ask_at.pop(key, None)
                self.follower.view.forget(key[0])

    async def _place(self, commits: Sequence[Commit]) -> None:
        """Where they stand. What a block says of it does not change with the block."""
        new = [commit for commit in commits if commit not in self._standing]
        for at in range(0, len(new), PLACED_AT_ONCE):
            self._standing |= await self.examiner.standings(new[at : at + PLACED_AT_ONCE])

    # ------------------------------------------------------------------------------ examination

    async def _examine(
        self, standing: Sequence[Standing], head: Block, books: dict[int, LaneBook]
    ) -> None:
        """Those that are new, whose file was missing, or of whose charges none was taken."""
        done = 0
        async for one in in_steps(standing):
            key = (one.batch_id, one.commitment)
            left_s = one.committed_at + self.terms.challenge_s - head.timestamp
            known = key in self.examiner.honest or self._is_charged(key)
            if known or not self._again.is_due(key, left_s) or done >= EXAMINED_A_ROUND:
                continue
            done += 1
            if key in self._doubts.refused:
                self.examiner.forget({key})
            with self._faults.alone(key):
                await self._examine_one(one, key, books[lane_of(one.batch_id)])

    async def _examine_one(self, one: Standing, key: Key, book: LaneBook) -> None:
        file = await self.examiner.file_of(one)
        if file is None or not file.fits:
            self._again.later(key)
            self._asking[key] = file
            return
        await self._judge(one, file, book)

    def _is_charged(self, key: Key) -> bool:
        """With something that the contract takes, as far as is known."""
        return key in self._charges and key not in self._doubts.refused

    async def _judge(self, one: Standing, file: Opened, book: LaneBook) -> None:
        key = (one.batch_id, one.commitment)
        self._charge(key, await self.examiner.examine(one, file, book, self.follower.view))
        if self._is_charged(key):
            return
        # What is unknown of its devices can be demanded; else there is nothing more to look for.
        inquiry = await self.examiner.inquiry(one, file, self.follower.view, Asking())
        self._asking.pop(key, None)
        if inquiry.wanted():
            self._asking[key] = file
        elif key not in self._charges and self.examiner.is_as_new_as(self.follower.seen):
            self._doubts.refused.discard(key)
            self.examiner.honest.add(key)
            self.metrics.challenger_examined.inc()
            return
        self._again.later(key)

    def _charge(self, key: Key, charges: Sequence[Charge]) -> None:
        """With all that was found out by looking at a batch."""
        before = {charge.accusation.fraud for charge in self._charges.pop(key, ())}
        # Those of neighbours may be known, from when this batch was examined before.
        for charge in [c for c in charges if c not in self._charges.get(c.key, ())]:
            accused, fraud = charge.key, charge.accusation.fraud
            self.examiner.honest.discard(accused)
            self._charges.setdefault(accused, []).append(charge)
            if accused != key or fraud not in before:
                self.metrics.challenger_frauds.labels(fraud.name.lower()).inc()

    # ------------------------------------------------------------------------------- accusation

    async def _accuse(self, standing: Sequence[Standing], sent: dict[str, Sent]) -> None:
        """One challenge of a lane at a time: the bond falls once."""
        open_ = {(one.batch_id, one.commitment) for one in standing}
        for gone in self._charges.keys() - open_:
            del self._charges[gone]
        lanes, said = set[int](), set[str]()
        for key, charges in list(self._charges.items()):
            name = name_of(key)
            said.add(name)
            lane = lane_of(key[0])
            if lane in lanes:
                continue
            if await self._challenge(charges, name, sent):
                lanes.add(lane)
            if self._doubts.judge(key, is_taken=lane in lanes):
                self._again.begin(key)
        self._doubts.refused &= self._charges.keys()
        self.alerts.keep(FRAUD, said)

    async def _challenge(self, charges: Sequence[Charge], name: str, sent: dict[str, Sent]) -> bool:
        """True when a challenge is on its way: the first that the contract would take."""
        kinds = ", ".join(dict.fromkeys(one.accusation.fraud.name for one in charges))
        refused = {}
        for charge in charges:
            fraud = charge.accusation.fraud
            purpose = f"challenge:{name}:{int(fraud)}"
            before = sent.get(purpose, NOTHING_SENT)
            if before.is_open:
                self.alerts.say(FRAUD, name, f"batch {name}: {kinds}; its challenge is on its way")
                return True
            call = challenge_call(charge.accusation, charge.standing, charge.revealed)
            refused[fraud.name] = said = before.used_up or await self.calls.said_to(call)
            if not said:
                self.alerts.say(FRAUD, name, f"batch {name}: {kinds}; it will be challenged")
                await self._wanting.want(purpose, sent, self.calls.address, call)
                return True
        why = ", ".join(f"{kind}: {said}" for kind, said in refused.items())
        self.alerts.say(FRAUD, name, f"batch {name}: {kinds}; the contract refuses: {why}")
        return False

    # ---------------------------------------------------------------------------------- demands

    async def _inquire(
        self,
        standing: Sequence[Standing],
        head: Block,
        books: dict[int, LaneBook],
        sent: dict[str, Sent],
    ) -> None:
        """Of batches without a file that fits, when it is time to ask the submitter for it."""
        known = {(one.batch_id, one.commitment): one for one in standing}
        for key in [key for key in self._asking if key not in known]:
            del self._asking[key]
        waited = head.timestamp - self.limits.patience_s
        due = [k for k in sorted(self._asking) if known[k].committed_at <= waited]
        due = [key for key in due if not self._is_charged(key)]
        for key in due:
            if self._ask_at.get(key, 0.0) <= time.monotonic():
                self._ask_at[key] = time.monotonic() + self.limits.retry_s
                with self._faults.alone(key):
                    book = books[lane_of(key[0])]
                    asked = await self._ask(known[key], head.timestamp, book, sent)
                    (self._odd.discard if asked else self._odd.add)(key)
        self.alerts.keep(WITHHELD, {name_of(key) for key in due if key not in self._odd})
        odd = self._odd.intersection(due) | self._faults.keys
        self.alerts.keep(UNPROVABLE, set(map(name_of, odd)))

    async def _ask(self, one: Standing, now: int, book: LaneBook, sent: dict[str, Sent]) -> bool:
        """What is demanded of a batch next; False when nothing is left to be demanded."""
        key, name = (one.batch_id, one.commitment), name_of((one.batch_id, one.commitment))
        file = self._asking[key]
        rounds = (one.committed_at + self.terms.challenge_s - now) // self.terms.answer_s
        asking = asking_for(one, self.calls.sender, self.limits.demands, rounds)
        inquiry = await self.examiner.inquiry(one, file, self.follower.view, asking)
        if key not in self._doubts.refused:
            self._charge(key, await self.examiner.shown(one, inquiry, book))
            if key in self._charges:
                return True
        wanted = inquiry.wanted()
        if not wanted:
            text = f"batch {name}: no file that fits it, and nothing more to be demanded"
            self.alerts.say(UNPROVABLE, name, text)
            return False
        said = withheld(name, has_file=file is not None, answers=len(inquiry.answers))
        self.alerts.say(WITHHELD, name, said)
        for next_ in wanted[: self.limits.demands]:
            await self._demand(next_, one, sent)
        return True

    async def _demand(self, wanted: Wanted, one: Standing, sent: dict[str, Sent]) -> None:
        number = demand_id(wanted, one)
        purpose = f"demanded:{number.hex()}"
        before = sent.get(purpose, NOTHING_SENT)
        is_there = self._expiring.want(number, self.follower.view.open)
        if is_there or before.is_open or before.is_done or not await self._affords(sent):
            return
        call = demand_call(wanted, one)
        said = await self.calls.said_to(call)
        if said in LOST_FIRST:
            log.info("not demanded", reason=said, purpose=purpose)
        elif said:
            log.error("demand refused", reason=said, batch=one.batch_id, kind=wanted.kind.name)
        else:
            await self._wanting.want(purpose, sent, self.calls.address, call)
            sent[purpose] = (await self.store.sent()).get(purpose, NOTHING_SENT)

    async def _affords(self, sent: dict[str, Sent]) -> bool:
        """Whether another fee is within the stake and there; sees to the allowance. An answered
        demand's fee is gone: it counts until the window of its batch is over."""
        if is_by_few(self.calls.rpc):
            # A challenge costs gas at most, which the contract judges; a fee is lost for good.
            text = "fewer nodes answer than must agree: nothing that costs a fee is demanded"
            self.alerts.say(NO_FUNDS, "nodes", text)
            return False
        self.alerts.end(NO_FUNDS, "nodes")
        under_way = self._staked(sent)
        fee, token = self.terms.fee, self.terms.token
        if (under_way + 1) * fee > self.limits.stake:
            text = f"{under_way} demands are as many as the stake of {self.limits.stake} allows"
            self.alerts.say(NO_FUNDS, "stake", text)
            return False
        if await self.calls.token_balance(token) < fee:
            self.alerts.say(NO_FUNDS, "fees", f"a demand costs {fee} base units: not enough CORE")
            return False
        self.alerts.end(NO_FUNDS, "fees")
        self.alerts.end(NO_FUNDS, "stake")
        if await self.calls.allowance(token) < fee:
            call = approve_call(self.calls.address, self.limits.stake)
            await self._wanting.want("approve:stake", sent, token, call)
            return False
        return True

    def _staked(self, sent: dict[str, Sent]) -> int:
        """Our demands whose fee is out, or will be. One that expired has brought it back."""
        ids = self.follower.view.demand_ids
        known = {f"demanded:{number.hex()}" for number in ids}
        ours = (p for p in sent if p.startswith("demanded:"))
        return sum(p in known or sent[p].is_open for p in ours)

    async def _expire(self, head: Block, books: dict[int, LaneBook], sent: dict[str, Sent]) -> None:
        bonds = {lane: book.since for lane, book in books.items()}
        accused, open_ = {lane_of(k[0]) for k in self._charges}, self.follower.view.expirable()
        for demand in await self._expiring.due(open_, head, bonds, accused):
            purpose, call = f"expire:{demand.id.hex()}", expire_call(demand.id)
            if not await self.calls.said_to(call):
                await self._wanting.want(purpose, sent, self.calls.address, call)

    # --------------------------------------------------------------------------------- measures

    def _measure(self, standing: Sequence[Standing], head: Block, sent: dict[str, Sent]) -> None:
        examined = self.examiner.honest
        todo = [s for s in standing if (s.batch_id, s.commitment) not in examined]
        # A demand has to be in a block in the same window as a challenge.
        demanded = {demand.batch_id for demand in self.follower.view.open.values()}
        hidden = {key for key in self._asking.keys() - self._odd if key[0] not in demanded}
        left_s = self._left_s(todo, self._charges.keys(), head)
        self.metrics.challenger_unexamined.set(len(todo))
        self.metrics.challenger_deadline.set(left_s)
        self.waiting = sum(one.is_open for one in sent.values())
        self.pace = Pace(min(left_s, self._left_s(todo, hidden, head)), self.terms.challenge_s)

    def _left_s(self, of: Sequence[Standing], keys: Set[Key], head: Block) -> float:
        """Of the nearest window of some batches."""
        since = (s.committed_at for s in of if (s.batch_id, s.commitment) in keys)
        return min(since, default=NO_DEADLINE) + self.terms.challenge_s - head.timestamp
