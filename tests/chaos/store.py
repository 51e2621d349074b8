"""The submitter's journal in memory: each write is all or nothing, and may be lost or unanswered.

It does what the statements of `journal/sql/queries.sql` do, under the same names.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from chaos.chain import ModelChain
from chaos.node import Known
from chaos.rows import OPEN, Row, Tables
from chaos.world import MOST_GAS, Effect, Violation, World
from corechain.service.errors import StoreUnavailable
from corechain_relayer.errors import LaneHalted
from corechain_relayer.submitter.grounds import NOTHING
from corechain_relayer.submitter.journal import IntentJournal, Standing
from corechain_relayer.submitter.plan import Attempt, BlockId, Intent, Policy, Receipt, State
from corechain_relayer.submitter.recall import STRAY_S, stray

FAR = 1 << 62
"""Of what is in no hurry."""


def fenced(world: World, name: str) -> Effect:
    """A write of whoever works now, through the pool: no lock is needed for it."""
    return world.effect(name, stored=True)


class Write(Effect):
    """A write of one session. Raises StoreUnavailable in one that was taken over (I20)."""

    __slots__ = ("_journal",)

    def __init__(self, journal: "ModelJournal", name: str) -> None:
        super().__init__(journal.world, name, stored=True)
        self._journal = journal

    def __enter__(self) -> None:
        super().__enter__()
        self._journal._fence(self._name)


class ModelJournal(IntentJournal):
    """One process's session. A newer session has the lock, and this one's connection is gone."""

    def __new__(cls, *args: object) -> "ModelJournal":
        return object.__new__(cls)

    def __init__(self, world: World, chain: ModelChain, tables: Tables, known: Known) -> None:
        world.session += 1
        for name, value in (
            ("connection", None),
            ("queue", "lane:0"),
            ("world", world),
            ("chain", chain),
            ("tables", tables),
            ("known", known),
            ("session", world.session),
        ):
            object.__setattr__(self, name, value)

    def _write(self, name: str) -> Write:
        return Write(self, name)

    def _fence(self, name: str) -> None:
        if self.session != self.world.session:
            self.world.fault("15 a process that was taken over goes on")
            raise StoreUnavailable(f"{name}: the connection is closed")

    def _set(self, number: int, **changes: object) -> None:
        row = self.tables.rows[number]
        row.intent = replace(row.intent, **changes)  # type: ignore[arg-type]

    # ------------------------------------------------------------------ reads

    async def open_intents(
        self, ordered: bool, paused: Collection[int], queued: int = 1
    ) -> list[Intent]:
        self._fence("read")
        intents = [row.intent for row in self.tables.rows.values() if row.intent.state in OPEN]
        waiting = [i for i in intents if i.state is State.QUEUED]
        pending = [i for i in intents if i.state is State.PENDING]
        if ordered:
            return sorted(pending + waiting[:queued], key=lambda intent: intent.id)
        pending.sort(key=lambda i: (i.spent is not None, i.nonce))
        free = [i for i in waiting if i.halt is None and i.id not in paused]
        free.sort(key=lambda i: (self.tables.rows[i.id].due or FAR, i.id))
        return pending + free[:queued]

    async def unfinished(self) -> bool:
        return any(row.intent.state in OPEN for row in self.tables.rows.values())

    async def note_waits(self, waits: Mapping[int, tuple[str, str]]) -> None:
        with self._write("note"):
            for number, (kind, _) in waits.items():
                self._set(number, waits=kind)

    async def forget_waits(self, ids: Sequence[int]) -> None:
        with self._write("note"):
            for number in ids:
                self._set(number, waits=None)

    async def note_look(
        self, sender: bytes, policy: Policy, problem: str | None
    ) -> dict[State, int]:
        self._fence("note")
        return {}

    async def free_nonces(self, sender: bytes, count: int, number: int) -> list[int]:
        self._fence("read")
        taken = {
            attempt.nonce
            for row in self.tables.rows.values()
            if row.intent.state is not State.VOID
            for attempt in (*row.old, *row.intent.attempts)
            if attempt.hash not in self.tables.refused and row.may_count(attempt.nonce)
        }
        found, candidate = [], count
        while len(found) < number:
            if candidate not in taken:
                found.append(candidate)
            candidate += 1
        return found

    async def strays(self, sender: bytes, count: int, now: float) -> list[Intent]:
        self._fence("read")
        held = {a.nonce for row in self.tables.rows.values() for a in self._counting(row)}
        found: dict[int, Intent] = {}
        for row in self.tables.rows.values():
            one = row.intent
            for attempt in (*row.old, *one.attempts):
                is_given_up = attempt.hash in self.tables.refused and not attempt.cancels
                may_land = attempt.nonce >= count and attempt.signed_at >= now - STRAY_S
                other = found.get(attempt.nonce)
                is_dearer = other is None or attempt.fees.max_fee >= other.attempts[0].fees.max_fee
                if is_given_up and may_land and is_dearer and attempt.nonce not in held:
                    found[attempt.nonce] = stray(one.id, one.key, one.target, one.calldata, attempt)
        return [found[nonce] for nonce in sorted(found)]

    def _counting(self, row: Row) -> list[Attempt]:
        """Attempts that may do what they are for, or have."""
        if row.intent.state is State.VOID:
            return []
        return [a for a in (*row.old, *row.intent.attempts) if a.hash not in self.tables.refused]

    async def note_costs(self, receipts: Collection[Receipt]) -> None:
        self._fence("read")
        fresh = {r.hash: r.fee for r in receipts if r.hash not in self.tables.costs}
        self.tables.costs |= fresh
        for row in self.tables.rows.values():
            if not fresh.keys().isdisjoint(row.intent.hashes):
                seen = (self._seen(a) if a.hash in fresh else a for a in row.intent.attempts)
                row.intent = replace(row.intent, attempts=tuple(seen))

    @staticmethod
    def _seen(attempt: Attempt) -> Attempt:
        return (
            attempt if attempt.sent_at is not None else replace(attempt, sent_at=attempt.signed_at)
        )

    async def spent_in_a_day(self) -> int:
        self._fence("read")
        return sum(self.tables.costs.values())

    async def newest_confirmed_blocks(self, limit: int) -> list[BlockId]:
        return sorted(self._confirmed(), key=lambda b: (b.number, b.hash), reverse=True)[:limit]

    async def confirmed_blocks_through(self, final_block: int, limit: int) -> list[BlockId]:
        found = [block for block in self._confirmed() if block.number <= final_block]
        return sorted(found, key=lambda b: (b.number, b.hash))[:limit]

    def _confirmed(self) -> set[BlockId]:
        self._fence("read")
        rows = self.tables.rows.values()
        return {
            row.confirmed
            for row in rows
            if row.intent.state is State.CONFIRMED and row.confirmed is not None
        }

    async def standing(self) -> Standing:
        self._fence("read")
        rows = self.tables.rows.values()
        halted = [row for row in rows if row.intent.halt is not None]
        halts = [LaneHalted(r.intent.key, r.why, str(r.intent.halt)) for r in halted]
        # Any value will do that changes with a wish.
        return Standing(halts, self.tables.pause, self.tables.wishes)  # type: ignore[arg-type]

    # ------------------------------------------------------------------ writes

    async def want(self, key: str, target: bytes, calldata: bytes) -> None:
        with self._write("want"):
            self.tables.insert(key, calldata, target)

    async def void(self, intent: Intent, why: str) -> None:
        with self._write("void"):
            if self.tables.is_void_at_once:
                self.known.give_up(self.tables.rows[intent.id].intent.attempts)
            self._end(intent)

    def _end(self, intent: Intent) -> None:
        row = self.tables.rows[intent.id]
        if row.intent.state in OPEN:
            row.old += row.intent.attempts
            self.tables.refused.update(attempt.hash for attempt in row.intent.attempts)
            changes = {"nonce": None, "attempts": (), "spent": None, "halt": None, "cancel": None}
            self._set(intent.id, state=State.VOID, waits=None, **changes)

    async def record(self, signed: Sequence[tuple[Intent, Attempt]], sender: bytes) -> None:
        again = any(intent.attempts for intent, _ in signed)
        with self._write("record a replacement" if again else "record"):
            before = self._pending()
            stake = self._at_stake()
            self._record([(intent.id, attempt) for intent, attempt in signed])
            if self._pending() > max(before, self.tables.in_flight):
                raise Violation("I16", f"{self._pending()} intents are in flight")
            self._check_budget(stake)

    async def record_new(self, intent: Intent, sender: bytes, attempt: Attempt) -> None:
        with self._write("record"):
            number = self.tables.insert(intent.key, intent.calldata, intent.target)
            if self.tables.rows[number].intent.state not in (State.VOID, State.QUEUED):
                raise StoreUnavailable(f"{intent.key} is there already, and under way")
            self._set(number, state=State.QUEUED, failures=0, halt=None, bump=None, cancel=None)
            stake = self._at_stake()
            self._record([(number, attempt)])
            self._check_budget(stake)

    def _at_stake(self) -> int:
        """Wei that all that is signed and in no block can cost."""
        rows = self.tables.rows.values()
        pending = (row.intent for row in rows if row.intent.state is State.PENDING)
        return sum(MOST_GAS * max(a.fees.max_fee for a in i.attempts) for i in pending)

    def _check_budget(self, before: int) -> None:
        """I7, of what was signed just now. `before`: what was at stake then."""
        budget, stake = self.tables.budget, self._at_stake()
        known = sum(self.tables.costs.values())
        if budget is not None and stake > before and known + stake > budget:
            raise Violation("I7", f"{known} spent, {stake} at stake: the budget is {budget}")

    def _pending(self) -> int:
        """Of an ordered queue: what fills a gap is needed whatever the window holds."""
        return sum(
            1
            for row in self.tables.rows.values()
            if row.intent.state is State.PENDING and row.intent.calldata
        )

    def _record(self, signed: Sequence[tuple[int, Attempt]]) -> None:  # type: ignore[override]
        for number, attempt in signed:
            held = self.tables.rows[number].intent
            if held.state not in OPEN or held.nonce not in (None, attempt.nonce):
                raise StoreUnavailable("one of the intents has changed since it was read")
        for number, attempt in signed:
            self._release(attempt.nonce, number)
            held = self.tables.rows[number].intent
            others = tuple(a for a in held.attempts if a.hash != attempt.hash)
            if attempt.hash in self.known.journalled:
                self._take_over(attempt)
            self._set(
                number,
                state=State.PENDING,
                nonce=attempt.nonce,
                attempts=(*others, attempt),
            )
            self.tables.refused.discard(attempt.hash)
            self.known.given_up.discard(attempt.hash)
            self.known.journalled.add(attempt.hash)

    def _release(self, nonce: int, wanted: int) -> None:
        """One payload a nonce: what another transaction did gives up its own."""
        for number, row in self.tables.rows.items():
            if row.intent.nonce != nonce or number == wanted:
                continue
            if row.may_count(nonce):
                raise Violation("I6", f"intents {number} and {wanted} hold nonce {nonce}")
            row.old += row.intent.attempts
            self.tables.refused.update(attempt.hash for attempt in row.intent.attempts)
            self.known.void([nonce])
            self._set(number, nonce=None, attempts=())

    def _take_over(self, attempt: Attempt) -> None:
        """The same bytes are kept once, by whom they were signed for last."""
        for row in self.tables.rows.values():
            row.old = [a for a in row.old if a.hash != attempt.hash]

    async def mark_sent(self, attempts: Sequence[Attempt], now: float) -> None:
        with self._write("mark_sent"):
            hashes = {attempt.hash for attempt in attempts}
            for number, row in self.tables.rows.items():
                if any(a.hash in hashes for a in row.intent.attempts):
                    marked = tuple(
                        replace(a, sent_at=now) if a.hash in hashes else a
                        for a in row.intent.attempts
                    )
                    self._set(number, attempts=marked)

    async def mark_spent(self, intent: Intent, block: BlockId) -> None:
        with self._write("mark_spent"):
            self._if_pending(intent, spent=block)
        if intent.cancel is None:  # else an operator wanted it spent
            self.world.owed["nonces_spent"] += 1

    def _if_pending(self, intent: Intent, **changes: object) -> None:
        if self.tables.rows[intent.id].intent.state is State.PENDING:
            self._set(intent.id, **changes)

    async def renew(self, intent: Intent, failures: int) -> None:
        with self._write("renew"):
            self._renew(intent, failures)

    def _renew(self, intent: Intent, failures: int) -> None:
        row = self.tables.rows[intent.id]
        if row.intent.state is not State.PENDING:
            return
        row.old += row.intent.attempts
        done = row.intent.failures + failures
        changes = {"nonce": None, "attempts": (), "spent": None, "failures": done, "waits": None}
        state = State.QUEUED if row.intent.cancel is None else State.VOID
        self._set(intent.id, state=state, cancel=None, **changes)

    async def unbind(self, intent: Intent, why: LaneHalted) -> None:
        with self._write("unbind"):
            self.tables.refused.update(a.hash for a in self.tables.rows[intent.id].intent.attempts)
            self._renew(intent, 0)
            self._halt(intent, why)
        self.world.owed["intent halted"] += 1

    async def give_up(self, intent: Intent, why: LaneHalted) -> None:
        with self._write("give up"):
            self._renew(intent, 1)
            self._halt(intent, why)
        self.world.owed["intent halted"] += 1

    async def confirm(self, done: Sequence[tuple[Intent, Receipt]]) -> None:
        with self._write("confirm"):
            for intent, receipt in done:
                row = self.tables.rows[intent.id]
                if row.intent.state in OPEN:
                    row.confirmed, row.transaction = receipt.block, receipt.hash
                    changes = {"spent": None, "halt": None, "waits": None}
                    self._set(intent.id, state=State.CONFIRMED, **changes)

    async def unconfirm(self, blocks: Collection[BlockId]) -> list[str]:
        taken = []
        with self._write("unconfirm"):
            for number, row in self.tables.rows.items():
                if row.intent.state is State.CONFIRMED and row.confirmed in blocks:
                    bound = row.intent.nonce is not None
                    unbound = State.QUEUED if row.intent.cancel is None else State.VOID
                    self._set(number, state=State.PENDING if bound else unbound)
                    row.confirmed = None
                    taken.append(row.intent.key)
        self.world.owed["transactions_unconfirmed"] += len(taken)
        return taken

    async def finalize(self, blocks: Collection[BlockId]) -> None:
        if not blocks:
            return
        with self._write("finalize"):
            for number, row in self.tables.rows.items():
                if row.intent.state is State.CONFIRMED and row.confirmed in blocks:
                    self._check_final(row)
                    self._set(number, state=State.FINAL)

    def _check_final(self, row: Row) -> None:
        """I10: only what the chain has for ever is final."""
        block, chain = row.confirmed, self.chain
        assert block is not None
        if block.number > chain.final or not chain.now.stands(block):
            raise Violation("I10", f"{row.intent.key} is called final in {block}")
        mined = chain.now.mined
        if row.transaction == b"elsewhere":
            return
        if not any(e.block == block.number and e.payload == row.intent.calldata for e in mined):
            raise Violation("I8", f"{row.intent.key} is called final and is not in {block}")

    async def halt(self, intent: Intent, why: LaneHalted) -> None:
        with self._write("halt"):
            self._halt(intent, why)
        self.world.owed["intent halted"] += 1

    def _halt(self, intent: Intent, why: LaneHalted) -> None:
        row = self.tables.rows[intent.id]
        if intent.key.startswith(NOTHING):
            raise Violation("I5", f"{intent.key} stands still, and what waits for its nonce")
        if row.intent.halt is None and row.intent.state in OPEN:
            row.why = why.reason
            self._set(intent.id, halt=why.kind)

    async def release(self, intent: Intent) -> None:
        with self._write("release"):
            self._set(intent.id, halt=None, failures=0)
