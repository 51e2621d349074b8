"""The statements of the real journal beside the model of it that stories are played with.

A story is written down as the calls of its journal that took effect, what was answered, and what
others did to its rows in between. `Twin` makes the same calls of the real journal, on Postgres: it
must say the same, and leave the same intents.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence, ValuesView
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from chaos.lane import LaneStory
from chaos.rows import Row, Tables
from chaos.store import ModelJournal, Write
from chaos.world import World
from corechain.service.errors import StoreUnavailable
from corechain_relayer.submitter.journal import IntentJournal, Standing, _intent
from corechain_relayer.submitter.plan import Intent

QUEUE = "lane:0"
READS = (
    "open_intents",
    "free_nonces",
    "strays",
    "note_costs",
    "spent_in_a_day",
    "newest_confirmed_blocks",
    "confirmed_blocks_through",
    "standing",
)
WRITES = (
    "void",
    "record",
    "record_new",
    "mark_sent",
    "mark_spent",
    "renew",
    "unbind",
    "give_up",
    "confirm",
    "unconfirm",
    "finalize",
    "halt",
    "release",
    "note_waits",
    "forget_waits",
)


@dataclass(frozen=True, slots=True)
class Call:
    """`intents`: all that there are after it. `refused`: it raised StoreUnavailable."""

    name: str
    args: tuple[Any, ...]
    answer: Any
    intents: tuple[Intent, ...]
    refused: bool = False


@dataclass(slots=True)
class Tape:
    """What the journal of one story was asked, in order."""

    tables: Tables
    calls: list[Call] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)
    seen: dict[int, tuple[Intent, int]] = field(default_factory=dict)
    pause: str | None = None

    def catch_up(self) -> None:
        """What operators and roles have done to the rows, by statements of their own."""
        rows = self.tables.rows
        if rows is not self.rows:
            self.rows, self.seen = rows, {}
            self._add("forget")
        for number, row in rows.items():
            if self.seen.get(number) != (row.intent, row.due):
                self._add("set", row.intent, row.due, row.cancelled)
        if self.tables.pause != self.pause:
            self.pause = self.tables.pause
            self._add("pause", self.pause)

    def _add(self, name: str, *args: Any) -> None:
        self.calls.append(Call(name, args, None, ()))

    def add(self, name: str, args: tuple[Any, ...], answer: Any, refused: bool = False) -> None:
        self.seen = {number: (row.intent, row.due) for number, row in self.rows.items()}
        intents = tuple(row.intent for row in self.rows.values())
        self.calls.append(Call(name, args, answer, intents, refused))


class WrittenDown(Write):
    """A write that says whether it took effect, whatever whoever asked for it has heard."""

    __slots__ = ()

    def __enter__(self) -> None:
        super().__enter__()
        self._journal.tape.catch_up()  # type: ignore[attr-defined]

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        if kind is None or issubclass(kind, StoreUnavailable):
            journal: Any = self._journal
            journal.tape.add(*journal.call, None, kind is not None)
        super().__exit__(kind, *about)


class TapedJournal(ModelJournal):
    """`tape`: of its story. `call`: the write that is under way."""

    def _write(self, name: str) -> Write:
        return WrittenDown(self, name)


def _kept(*args: Any) -> tuple[Any, ...]:
    """What is only a view of something that may change is copied."""
    return tuple(list(arg) if isinstance(arg, ValuesView | set) else arg for arg in args)


def _reading(name: str) -> Callable[..., Awaitable[Any]]:
    async def read(self: Any, *args: Any, **named: Any) -> Any:
        args = _kept(*args, *named.values())
        self.tape.catch_up()
        answer = await getattr(ModelJournal, name)(self, *args)
        self.tape.add(name, args, answer)
        return answer

    return read


def _writing(name: str) -> Callable[..., Awaitable[Any]]:
    async def write(self: Any, *args: Any, **named: Any) -> Any:
        args = _kept(*args, *named.values())
        object.__setattr__(self, "call", (name, args))
        return await getattr(ModelJournal, name)(self, *args)

    return write


for _name in READS:
    setattr(TapedJournal, _name, _reading(_name))
for _name in WRITES:
    setattr(TapedJournal, _name, _writing(_name))


def taped(kind: type[LaneStory], world: World) -> tuple[LaneStory, Tape]:
    """A story of that kind, and what will be written down of it."""
    tapes: list[Tape] = []

    class Taped(kind):  # type: ignore[misc, valid-type]
        def new_journal(self) -> ModelJournal:
            journal: Any = TapedJournal(self.world, self.chain, self.tables, self.known)
            if not tapes:
                tapes.append(Tape(self.tables))
            object.__setattr__(journal, "tape", tapes[0])
            return journal  # type: ignore[no-any-return]

    story = Taped(world)
    return story, tapes[0]


# ---------------------------------------------------------------------- on Postgres


def real(value: Any, name: str = "") -> Any:
    """As Postgres takes it: hashes of 32 bytes, targets of 20."""
    if isinstance(value, bytes):
        return _bytes_of(value, name)
    if is_dataclass(value) and not isinstance(value, type):
        changes = {f.name: real(getattr(value, f.name), f.name) for f in fields(value)}
        return replace(value, **changes)
    if isinstance(value, tuple | list | set):
        return type(value)(real(entry, name) for entry in value)
    return value


def _bytes_of(value: bytes, name: str) -> bytes:
    if name in ("hash", "block_hash", "bump"):
        return hashlib.sha256(value).digest()
    return value.rjust(20, b"\0") if name == "target" else value


ALL = """
select id, key, target, calldata, state, nonce, spent_block, spent_hash, failures, halt_kind,
       (select reason from wish where intent_id = id and kind = 'cancel') as cancel,
       (select hash from wish where intent_id = id and kind = 'bump') as bump, wait_kind
from intent order by id
"""
NEXT = "select setval(pg_get_serial_sequence('intent', 'id'), $1, false)"
SET = """
insert into intent (id, queue, key, target, calldata, state, due_at, ended_because)
overriding system value values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (id) do update
set target = excluded.target, calldata = excluded.calldata, state = excluded.state,
    due_at = excluded.due_at, ended_because = excluded.ended_because
"""
RELEASE = """
update intent set halt_kind = null, halt_reason = null, halted_at = null, failures = 0
where id = $1 and halt_kind is not null
"""
WISH = "insert into wish (intent_id, kind, hash, reason) values ($1, $2, $3, $4)"
PAUSE = "insert into queue_pause (queue, reason) values ($1, $2)"


def plain(answer: Any) -> Any:
    """Errors are the same when their words are."""
    if isinstance(answer, Standing):
        return answer.pause, [(halt.intent, halt.kind, halt.reason) for halt in answer.halts]
    return answer


def _told_apart(there: Any, model: Any) -> str:
    """Of intents those that differ, and in what."""
    if not isinstance(there, tuple | list) or len(there) != len(model):
        return f"{there}\n  of the model: {model}"
    names = [f.name for f in fields(Intent)]
    return (
        "\n  ".join(
            f"{one.key} {name}: {getattr(one, name)}, of the model {getattr(other, name)}"
            for one, other in zip(there, model, strict=True)
            for name in (names if isinstance(one, Intent) else [])
            if getattr(one, name) != getattr(other, name)
        )
        or f"{there}\n  of the model: {model}"
    )


@dataclass(frozen=True, slots=True)
class Twin:
    """The real journal, told what the model's was. `connection`: to an empty database."""

    connection: Any
    journal: IntentJournal

    @classmethod
    def of(cls, connection: Any) -> "Twin":
        return cls(connection, IntentJournal(connection, QUEUE))

    async def difference(self, calls: Sequence[Call]) -> str:
        """The first thing in which the two differ, empty where they do not."""
        await self.pause(None)
        for place, call in enumerate(calls):
            said = await self._said(call)
            if said:
                return f"call {place}, {call.name}{call.args}:\n  {said}"
        return ""

    async def _said(self, call: Call) -> str:
        try:
            answer = await self._ask(call)
        except StoreUnavailable as error:
            return "" if call.refused else f"Postgres refuses it: {error!r}"
        if call.refused:
            return "the model refuses it"
        if call.name in OUTSIDE:
            return ""
        if call.name in READS:
            there, model = plain(answer), plain(real(call.answer))
        else:
            there, model = await self._intents(), real(call.intents)
        return "" if there == model else _told_apart(there, model)

    async def _ask(self, call: Call) -> Any:
        if call.name in OUTSIDE:
            return await getattr(self, call.name)(*call.args)
        if call.name == "record_new":
            # A key that is there already takes a number, too; the model gives none away.
            await self.connection.execute(NEXT, len(await self._intents()) + 1)
        return await getattr(self.journal, call.name)(*map(real, call.args))

    async def _intents(self) -> tuple[Intent, ...]:
        """All of them, as a round has those that are open."""
        rows = await self.connection.fetch(ALL)
        attempts = await self.journal._attempts([row["id"] for row in rows])
        return tuple(_intent(row, attempts[row["id"]]) for row in rows)

    # ------------------------------------------------------------------ by other statements

    async def forget(self) -> None:
        await self.connection.execute("truncate intent, attempt, wish, spending restart identity")

    async def set(self, intent: Intent, due: int, is_cancelled: bool) -> None:
        intent = real(intent)
        parts = intent.target, intent.calldata, intent.state.value
        why = "cancelled: by hand" if is_cancelled else None
        await self.connection.execute(SET, intent.id, QUEUE, intent.key, *parts, due or None, why)
        if intent.halt is None:
            await self.connection.execute(RELEASE, intent.id)
        await self.connection.execute("delete from wish where intent_id = $1", intent.id)
        for kind, hash_, reason in (
            ("cancel", None, intent.cancel),
            ("bump", intent.bump, intent.bump and "by hand"),
        ):
            if reason:
                await self.connection.execute(WISH, intent.id, kind, hash_, reason)

    async def pause(self, why: str | None) -> None:
        await self.connection.execute("delete from queue_pause")
        if why is not None:
            await self.connection.execute(PAUSE, QUEUE, why)


OUTSIDE = ("forget", "set", "pause")
