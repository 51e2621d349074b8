"""Every acknowledged report in exactly one committed file, or its name."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING

from corechain.devnet.fleet.acklog import Kind
from corechain.devnet.reconcile.files import Files, makes
from corechain.devnet.reconcile.ledger import SILENT, Key, Ledger
from corechain.devnet.reconcile.scan import places_of, scan
from corechain.protocol.errors import MalformedDataFile, TransportError
from corechain.protocol.hashing import Digest26

if TYPE_CHECKING:
    from corechain.reader import ChainReader

POLL_S = 1.0
# So many files may wait for their check: each is held in memory meanwhile.
CHECKS_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Named:
    """A report that is not where it should be once, and where it was seen."""

    device: bytes
    sequence: int
    what: str
    seen: tuple[str, ...]

    def sentence(self) -> str:
        where = ", ".join(self.seen) or "nowhere"
        return f"{self.what}: device 0x{self.device.hex()} sequence {self.sequence}, seen {where}"


@dataclass(slots=True)
class Result:
    """Reports, but for `readings` and `rejected`, which are observations."""

    acknowledged: int = 0
    committed: int = 0
    """Acknowledged, and in a committed file."""
    lost: int = 0
    doubled: int = 0
    refused: int = 0
    refused_committed: int = 0
    """Refused, and there all the same: by a repeated request whose first answer did not arrive."""
    unanswered: int = 0
    unanswered_committed: int = 0
    silent: int = 0
    """Of which the log says nothing."""
    silent_committed: int = 0
    foreign: int = 0
    """In committed files, and of no log."""
    files: int = 0
    readings: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """What is wrong with logs and files, in sentences."""
    named: list[Named] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.faults)


@dataclass(slots=True)
class Reconciler:
    """`checks` seals each file again and compares it with its commitment; without it a file is
    believed to be what its name says."""

    chain: "ChainReader"
    files: Files
    ledgers: Sequence[Ledger]
    checks: Executor | None = None
    _next_block: int = 0
    _done: dict[Digest26, int] = field(default_factory=dict)
    """Commitment and batch id of each file that was read."""
    _open: dict[Digest26, int] = field(default_factory=dict)
    """Committed, and its file not there yet."""
    _checks: "dict[Digest26, Future[bool]]" = field(default_factory=dict)
    _result: Result = field(default_factory=Result)

    def run(self, wait_s: float = 0.0, tell: Callable[[int], None] = lambda seen: None) -> Result:
        """Looks until everything acknowledged was seen, at most so long; then judges.

        `tell` hears how many acknowledged reports were seen so far. Raises ChainUnavailable,
        ApiUnavailable, WrongChain.
        """
        deadline = time.monotonic() + wait_s
        while True:
            self._look_within(deadline)
            seen = sum(ledger.count_seen(Kind.ACKNOWLEDGED) for ledger in self.ledgers)
            tell(seen)
            whole = seen == sum(ledger.count(Kind.ACKNOWLEDGED) for ledger in self.ledgers)
            if whole or time.monotonic() > deadline:
                return self._judged()
            time.sleep(POLL_S)

    def _look_within(self, deadline: float) -> None:
        """A node or gateway that is away now may be back before the time is over."""
        try:
            self._look()
        except TransportError:
            if time.monotonic() > deadline:
                raise

    def _look(self) -> None:
        head = self.chain.node.head()
        if head >= self._next_block:
            found = self.chain.commitments_between(self._next_block, head)
            self._open |= {Digest26(commitment): batch for batch, commitment in found}
            self._next_block = head + 1
        for commitment in [one for one in self._open if one not in self._done]:
            data = self.files.read(commitment)
            if data is not None:
                self._take(commitment, data)

    def _take(self, commitment: Digest26, data: bytes) -> None:
        batch = self._done[commitment] = self._open.pop(commitment)
        self._result.files += 1
        try:
            found = scan(data)
        except MalformedDataFile as error:
            self._result.faults.append(f"{_file(commitment, batch)} is damaged: {error}")
            return
        if found.origin.batch_id != batch:
            self._result.faults.append(
                f"{_file(commitment, batch)} says that it is batch {found.origin.batch_id}"
            )
        self._check(commitment, data)
        keys = found.keys
        for ledger in self.ledgers:
            keys = ledger.see(keys)
        self._result.foreign += len(keys)
        self._result.readings += found.readings
        self._result.rejected += found.rejected

    def _check(self, commitment: Digest26, data: bytes) -> None:
        if self.checks is None:
            return
        waiting = [check for check in self._checks.values() if not check.done()]
        if len(waiting) >= CHECKS_AHEAD:
            waiting[0].result()
        self._checks[commitment] = self.checks.submit(makes, data, commitment)

    # ------------------------------------------------------------------ the end

    def _judged(self) -> Result:
        result = self._result
        for ledger in self.ledgers:
            self._count(ledger)
        result.faults += [*self._log_faults(), *self._file_faults()]
        return result

    def _count(self, ledger: Ledger) -> None:
        result = self._result
        result.acknowledged += ledger.count(Kind.ACKNOWLEDGED)
        result.committed += ledger.count_seen(Kind.ACKNOWLEDGED)
        result.refused += ledger.count(Kind.REFUSED)
        result.refused_committed += ledger.count_seen(Kind.REFUSED)
        result.unanswered += ledger.count(Kind.UNANSWERED)
        result.unanswered_committed += ledger.count_seen(Kind.UNANSWERED)
        result.silent += ledger.count(SILENT)
        result.silent_committed += ledger.count_seen(SILENT)
        result.lost += ledger.count(Kind.ACKNOWLEDGED) - ledger.count_seen(Kind.ACKNOWLEDGED)
        result.doubled += sum(1 for _ in ledger.doubled())

    def _log_faults(self) -> Iterator[str]:
        for ledger in self.ledgers:
            if not ledger.log.whole:
                yield f"{ledger.log.path}: {ledger.log.fault}"

    def _file_faults(self) -> Iterator[str]:
        for commitment, check in self._checks.items():
            if not check.result():
                name = _file(commitment, self._done[commitment])
                yield f"{name} does not make its commitment when it is sealed again"
        on_chain = self._on_chain()
        for commitment in [one for one in self._done if one not in on_chain]:
            yield f"{_file(commitment, self._done[commitment])} is not on the chain any more"
        for commitment, batch in self._open.items():
            yield f"{_file(commitment, batch)} is committed, and its file is not there"
        for commitment in self._uncommitted(on_chain):
            yield f"file {commitment.hex()} is not committed"

    def _on_chain(self) -> set[Digest26]:
        """Read anew: a reorganisation may have undone what was read block by block."""
        found = self.chain.commitments_between(0, self.chain.node.head())
        return {Digest26(commitment) for _, commitment in found}

    def _uncommitted(self, on_chain: set[Digest26]) -> list[Digest26]:
        return [one for one in self.files.all() if one not in on_chain]

    def name(self, most: int) -> list[Named]:
        """At most so many of what is lost or doubled, with the files in which it was seen: all
        files are read once more for it."""
        lost = islice(chain.from_iterable(one.lost() for one in self.ledgers), most)
        doubled = islice(chain.from_iterable(one.doubled() for one in self.ledgers), most)
        words = dict.fromkeys(lost, "lost") | dict.fromkeys(doubled, "doubled")
        seen: dict[Key, list[str]] = {key: [] for key in words}
        for where, data in self._all_files() if words else ():
            for key in places_of(data, frozenset(words)):
                seen[key].append(where)
        self._result.named = [
            Named(*key, what, tuple(seen[key])) for key, what in islice(words.items(), most)
        ]
        return self._result.named

    def _all_files(self) -> Iterator[tuple[str, bytes]]:
        places = [(one, _file(one, batch)) for one, batch in self._done.items()]
        others = [(one, f"file {one.hex()} (not committed)") for one in self._uncommitted_now()]
        for commitment, where in [*places, *others]:
            data = self.files.read(commitment)
            if data is not None:
                yield where, data

    def _uncommitted_now(self) -> list[Digest26]:
        return self._uncommitted(self._on_chain())


def _file(commitment: Digest26, batch: int) -> str:
    return f"file {commitment.hex()} (batch {batch})"
