"""The bridge's memory: one SQLite file. Every change is one transaction, on disk when it returns.

SQLite and not Postgres: a bridge stands at the edge, next to the stations, with nothing but a disk.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from corechain.protocol.errors import Overloaded, ProtocolError
from corechain.protocol.reading import Observation, SignedReport
from corechain.service import sql
from corechain.service.errors import StoreUnavailable
from corechain_relayer.bridge.book import Known, Taken, Total, take
from corechain_relayer.bridge.errors import StationBacklog
from corechain_relayer.bridge.formats.upload import Upload
from corechain_relayer.bridge.keys import KeyMissing
from corechain_relayer.bridge.stations import NameTaken, NoSuchStation, Station

PACKAGE = "corechain_relayer.bridge"
FILE = "bridge.sqlite"
BUSY_S = 10.0
"""Another process of the bridge (`station add`, `import`) may be writing."""
OBSERVATIONS_A_REPORT = 512
REFUSED_KEPT = 10_000
T = TypeVar("T")
Sign = Callable[[Station, int, Sequence[Observation]], SignedReport]
"""A report of a station, signed: (station, sequence, observations)."""


class Queued(NamedTuple):
    """A report that waits: `id` is its place. `created_at`: seconds since 1970. `trace`: of its
    upload, 16 + 8 bytes."""

    id: int
    station: int
    report: bytes
    created_at: int = 0
    trace: bytes | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gateway said of a queued report; `reason` None: it holds it."""

    id: int
    reason: str | None = None


@contextmanager
def _asked() -> Iterator[None]:
    """Raises StoreUnavailable for a disk that is full, broken, or not ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the bridge's file cannot be used: {error}") from error


class BridgeStore:
    """Used by one thread at a time. Raises StoreUnavailable."""

    def __init__(self, folder: Path, max_reports: int, station_reports: int | None = None) -> None:
        self.max_reports = max_reports
        self._counts: dict[int | None, int] = {}
        """Reports that wait, of a station and (None) of all, as of the transaction under way: to
        count is a step a report, and uploads that share a transaction need not do it again."""
        self.station_reports = max_reports if station_reports is None else station_reports
        with _asked():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / FILE
            # SQLite gives its other files the mode of this one: a header may hold an API key.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        self._connection.close()

    def _prepare(self) -> None:
        self._connection.row_factory = sqlite3.Row
        self._run("pragma journal_mode = wal")
        # FULL: a commit is on disk, not only in the log that a power cut may shorten.
        self._run("pragma synchronous = full")
        self._migrate()

    def _migrate(self) -> None:
        for number, (_, text) in enumerate(sql.migrations(PACKAGE), start=1):
            with self._transaction():
                (done,) = self._run("pragma user_version").fetchone()
                if done >= number:
                    continue
                for statement in text.split(";\n"):
                    self._run(statement)
                self._run(f"pragma user_version = {number}")

    def _run(self, text: str, parameters: Mapping[str, Any] | None = None) -> sqlite3.Cursor:
        return self._connection.execute(text, parameters or {})

    def _query(self, query: str, /, **parameters: Any) -> list[sqlite3.Row]:
        return self._run(sql.queries(PACKAGE)[query], parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One for all that happens inside; the outermost ends it."""
        is_inner = self._connection.in_transaction
        if is_inner:
            yield
            return
        self._run("begin immediate")
        self._counts.clear()
        try:
            yield
            # What cannot be committed is not left open: all that followed would be inside of it,
            # and be acknowledged without ever being committed.
            self._run("commit")
        except BaseException:
            # SQLite may have rolled back by itself (a full disk).
            if self._connection.in_transaction:
                self._run("rollback")
            raise

    # ----------------------------------------------------------------- stations

    def add(self, fields: Mapping[str, Any]) -> Station:
        """A new station, of the columns of its table. Raises NameTaken."""
        with _asked(), self._transaction():
            if self._query("station_named", name=fields["name"]):
                raise NameTaken(f"another station is called {fields['name']!r:.80}")
            (row,) = self._query("insert_station", **fields)
            return Station.of(row)

    def remove(self, name: str, now: int) -> Station:
        """Raises NoSuchStation."""
        station = self.named(name)
        with _asked(), self._transaction():
            self._query("remove_station", id=station.id, now=now)
        return station

    def named(self, name: str) -> Station:
        """Raises NoSuchStation."""
        with _asked():
            rows = self._query("station_named", name=name)
        if not rows:
            raise NoSuchStation(name)
        return Station.of(rows[0])

    def stations(self) -> list[Station]:
        with _asked():
            return [Station.of(row) for row in self._query("stations")]

    def with_token(self, token_hash: bytes, format_: str, limit: int = -1) -> list[Station]:
        """Those that share a token, at most `limit`."""
        given = {"token_hash": token_hash, "format": format_, "limit": limit}
        with _asked():
            return [Station.of(row) for row in self._query("stations_with_token", **given)]

    def identified(
        self, format_: str, identity: str, token_hash: bytes | None = None
    ) -> list[Station]:
        """Those of a format that are known by an identity, with a token or without any."""
        given = {"format": format_, "identity": identity, "token_hash": token_hash}
        with _asked():
            return [Station.of(row) for row in self._query("stations_identified", **given)]

    # ------------------------------------------------------------------ uploads

    def group(self, steps: Sequence[Callable[[], T]]) -> list[T | Exception]:
        """Steps that share one transaction, so one write to the disk: their results, or what each
        refused. A step refuses before it changes anything."""
        found: list[T | Exception] = []
        with _asked(), self._transaction():
            for step in steps:
                try:
                    found.append(step())
                except (ProtocolError, KeyMissing) as error:
                    found.append(error)
        return found

    def take(
        self,
        station: Station,
        uploads: Sequence[Upload],
        now: int,
        sign: Sign,
        trace: bytes | None = None,
    ) -> list[Taken]:
        """What is new in uploads of a station: signed, and in the queue, durably.

        Raises Overloaded when the queue is at its limit, StationBacklog when the station's part of
        it is, KeyMissing; nothing was taken then.
        """
        with _asked(), self._transaction():
            if self._counted(None, self._depth) >= self.max_reports:
                raise Overloaded(f"{self.max_reports} reports wait for the gateway", 60)
            waiting = self._counted(station.id, lambda: self._depth_of(station.id))
            if waiting >= self.station_reports:
                raise StationBacklog(self.station_reports)
            sequence, known = self._known(station.id)
            found = []
            for upload in uploads:
                taken = take(upload, known)
                known = taken.known
                found.append(replace(taken, device=station.device))
            seen = [
                Observation(item.metric, station.cell, item.at, item.value)
                for taken in found
                for item in taken.observations
            ]
            for signed in _signed(station, sequence, seen, now, sign):
                sequence = signed.report.sequence
                own = {"station": station.id, "now": now, "report": signed.pack(), "trace": trace}
                self._query("enqueue", **own)
                for place in (None, station.id):
                    self._counts[place] += 1
            self._remember(station.id, sequence, known)
        return found

    def _counted(self, place: int | None, count: Callable[[], int]) -> int:
        if place not in self._counts:
            self._counts[place] = count()
        return self._counts[place]

    def _known(self, station: int) -> tuple[int, Known]:
        """The last sequence, and what was read."""
        rows = self._query("known", station=station)
        if not rows:
            return -1, Known()
        sequence, newest, counters = rows[0]
        totals = {name: Total(*values) for name, values in json.loads(counters).items()}
        return sequence, Known({int(m): at for m, at in json.loads(newest).items()}, totals)

    def _remember(self, station: int, sequence: int, known: Known) -> None:
        newest = json.dumps(dict(known.newest))
        counters = json.dumps({name: [one.at, one.total] for name, one in known.counters.items()})
        values = {"station": station, "sequence": sequence, "newest": newest, "counters": counters}
        self._query("remember", **values)

    # -------------------------------------------------------------------- queue

    def head(self, limit: int, without: Sequence[int] = ()) -> list[Queued]:
        """The oldest reports, in order, but of some stations."""
        with _asked():
            rows = self._query("head", limit=limit, without=json.dumps(list(without)))
        return [Queued(*row) for row in rows]

    def settle(self, verdicts: Sequence[Verdict], now: int) -> None:
        """What the gateway holds leaves the queue; what it will never take is set aside."""
        with _asked(), self._transaction():
            for verdict in verdicts:
                if verdict.reason is not None:
                    self._query("refuse", id=verdict.id, reason=verdict.reason, now=now)
                self._query("done", id=verdict.id)
            self._query("trim_refused", kept=REFUSED_KEPT)

    def _depth(self) -> int:
        return int(self._query("depth")[0][0])

    def waiting(self, station: int) -> int:
        """Reports of a station that the gateway does not hold yet."""
        with _asked():
            return self._depth_of(station)

    def _depth_of(self, station: int) -> int:
        return int(self._query("depth_of", station=station)[0][0])

    def newest(self, station: int) -> int | None:
        """When a station's newest observation was made; None before its first upload."""
        with _asked():
            _, known = self._known(station)
        return max(known.newest.values(), default=None)

    def depth(self) -> int:
        with _asked():
            return self._depth()

    def oldest(self) -> int | None:
        """When the oldest report of the queue was made."""
        with _asked():
            rows = self._query("oldest")
        return rows[0][0] if rows else None

    def refused(self, limit: int = 100) -> list[sqlite3.Row]:
        """The newest refusals: name, refused_at, reason, report."""
        with _asked():
            return self._query("refused", limit=limit)


def _signed(
    station: Station, last: int, seen: Sequence[Observation], now: int, sign: Sign
) -> list[SignedReport]:
    """Observations as reports, each under a sequence of its own after the last one."""
    found = []
    for first in range(0, len(seen), OBSERVATIONS_A_REPORT):
        # Never below the clock: a file that was restored from a backup does not use a sequence
        # again. Seconds, so that the gateway's window of 1,024 spans some minutes.
        last = max(last + 1, now)
        found.append(sign(station, last, seen[first : first + OBSERVATIONS_A_REPORT]))
    return found


def opened(
    folder: Path, max_reports: int, station_reports: int | None = None
) -> "closing[BridgeStore]":
    """For a command: closed at the end of the block."""
    return closing(BridgeStore(folder, max_reports, station_reports))
