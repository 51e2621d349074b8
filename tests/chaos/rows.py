"""The journal in memory: intents with what the tables keep beside them."""

from dataclasses import dataclass, field, replace

from corechain.protocol.reading import DeviceId
from corechain_relayer.submitter.plan import Attempt, BlockId, Intent, State

OPEN = (State.QUEUED, State.PENDING)


@dataclass(slots=True)
class Row:
    """An intent with what the journal keeps beside it. `old`: attempts under nonces of before."""

    intent: Intent
    old: list[Attempt] = field(default_factory=list)
    confirmed: BlockId | None = None
    transaction: bytes = b""
    why: str = ""
    cancelled: bool = False
    """An operator wanted it cancelled: it may end as void."""
    due: int = 0
    """Seconds of chain time; the most urgent is signed first."""

    def may_count(self, nonce: int) -> bool:
        """Whether what is signed for it under a nonce may still do it, or has done it."""
        if self.intent.state not in (State.CONFIRMED, State.FINAL):
            return True
        signed = (*self.old, *self.intent.attempts)
        return any(a.hash == self.transaction and a.nonce == nonce for a in signed)

    @property
    def is_fresh(self) -> bool:
        """Void, and neither signed for nor cancelled by an operator."""
        tried = self.old or self.intent.attempts or self.cancelled
        return self.intent.state is State.VOID and not tried


@dataclass(slots=True)
class Tables:
    """What outlives every process."""

    rows: dict[int, Row] = field(default_factory=dict)
    by_key: dict[str, int] = field(default_factory=dict)
    refused: set[bytes] = field(default_factory=set)
    in_flight: int = 1 << 30
    costs: dict[bytes, int] = field(default_factory=dict)
    rests: dict[int, dict[DeviceId, int]] = field(default_factory=dict)
    """By batch: what it rests on that was not final when it was sealed."""
    pause: str | None = None
    wishes: int = 0
    """Made of what was pending then."""
    budget: int | None = None
    """Of a day, which is longer than any story."""
    is_void_at_once: bool = False
    """What is needed no more: of answers, not of commits."""

    def forget(self) -> None:
        """A journal that is lost; settings and operators' orders are elsewhere."""
        self.rows, self.by_key, self.refused, self.costs = {}, {}, set(), {}
        self.rests = {}

    def insert(self, key: str, calldata: bytes, target: bytes = b"") -> int:
        if key in self.by_key:
            return self.by_key[key]
        number = len(self.rows) + 1
        self.rows[number] = Row(Intent(number, key, target, calldata))
        self.by_key[key] = number
        return number

    def begin_fresh(self, key: str, calldata: bytes, target: bytes) -> bool:
        """As `begin_fresh_intent`; whether there is something new to be sent."""
        purpose = key.rpartition(":")[0] + ":"
        others = [n for name, n in self.by_key.items() if name.startswith(purpose) and name != key]
        if any(self.rows[number].intent.state in OPEN for number in others):
            return False
        is_new = key not in self.by_key
        row = self.rows[self.insert(key, calldata, target)]
        if row.is_fresh:
            row.intent = replace(row.intent, state=State.QUEUED, calldata=calldata, target=target)
            return True
        return is_new

    def want_in_time(self, key: str, calldata: bytes, due: int) -> bool:
        """As the statement of that name; whether the key is new."""
        is_new = key not in self.by_key
        row = self.rows[self.insert(key, calldata)]
        if row.intent.state is State.VOID and not row.cancelled:
            row.intent = replace(row.intent, state=State.QUEUED)
        if row.intent.state in OPEN:
            row.due = due
        return is_new
