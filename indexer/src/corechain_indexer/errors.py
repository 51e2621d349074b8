"""Errors of the indexer's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from corechain.protocol.errors import CoreChainError, ProtocolError, TransportError
from corechain.service.errors import AccessRefused, StoreUnavailable


class CacheUnavailable(TransportError):
    """Redis did not answer."""


class CacheAccessRefused(CacheUnavailable, AccessRefused):
    """Redis does not take our user or password, or lets it do too little."""

    setting = "INDEXER_REDIS_URL"

    def __init__(self, why: str) -> None:
        super().__init__(f"Redis refuses what {self.setting} says: {why}")
        self.why = why


class ShardUnavailable(StoreUnavailable):
    """The Postgres that has the readings of some devices did not answer. The others may."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"shard {number}: {why}")
        self.number, self.why = number, why


class ShardDivided(TransportError):
    """Shards were added: there are `count` now. Who knew of fewer asks again."""

    def __init__(self, count: int) -> None:
        super().__init__(f"the readings are divided over {count} shards since")
        self.count = count


class NotDivided(StoreUnavailable):
    """An index that nobody has run yet: which shards it has is written by its first run."""

    def __init__(self) -> None:
        super().__init__(
            "this index is not divided over its shards yet: the first `corechain indexer run` "
            "with INDEXER_SHARD_URLS does that"
        )


class SeriesUnavailable(TransportError):
    """The time series database did not answer, or will not have us. `retry_after_s`: when it said
    that it wants to be asked again."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.why, self.retry_after_s = why, retry_after_s


class SeriesAccessRefused(SeriesUnavailable, AccessRefused):
    """InfluxDB does not take our token, or lets it do too little."""

    setting = "INDEXER_INFLUX_TOKEN"

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"InfluxDB refuses {self.setting}: {why}", retry_after_s)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Readings that the time series database will never take, observed from `first` to `last`."""

    count: int
    first: int
    last: int
    why: str


class LinesRefused(ProtocolError):
    """The time series database refused readings for what they are. All others are written."""

    def __init__(self, batch_id: int, refusals: Sequence[Refusal]) -> None:
        count = sum(refusal.count for refusal in refusals)
        super().__init__(f"{count} readings of batch {batch_id} are refused: {refusals[0].why}")
        self.batch_id, self.refusals = batch_id, tuple(refusals)


class AdminTokenMissing(ProtocolError):
    """Whoever sets up an InfluxDB that has users needs its operator token."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is no operator token in {path}: write it there (mode 0600), of several servers "
            "one each, comma separated"
        )
        self.path = path


class AdminTokenRefused(ProtocolError):
    """InfluxDB does not take the token, or it lacks a right."""

    def __init__(self, code: int) -> None:
        super().__init__(
            f"InfluxDB refuses the operator token ({code}): it takes one with all rights in the "
            "organisation (`influx auth list`, or that of the first user)"
        )
        self.code = code


class NoInfluxDB(ProtocolError):
    """What answers is no InfluxDB 2."""

    def __init__(self, code: int) -> None:
        super().__init__(
            f"what answers ({code}) is no InfluxDB 2: INDEXER_INFLUX_URL is its root, without a "
            "path; InfluxDB 1 and 3 have no /api/v2/setup"
        )
        self.code = code


class RetentionShortened(ProtocolError):
    """A bucket would delete what it keeps."""

    def __init__(self, bucket: str, held: str, wanted: str) -> None:
        super().__init__(
            f"bucket {bucket} is {held}, and would be {wanted}, which deletes older points: set "
            "INDEXER_INFLUX_KEEP_DAYS as it is, or say --shorten"
        )
        self.bucket, self.held, self.wanted = bucket, held, wanted


class SetupRefused(ProtocolError):
    """InfluxDB does not make what it was asked to."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"InfluxDB refuses ({code}): {why}")
        self.code, self.why = code, why


class FacilitatorUnavailable(TransportError):
    """The x402 facilitator did not answer, or with nonsense; it may have sent the deposit.
    `wait_s`: for how long it asks to be left alone."""

    def __init__(self, why: str, *, maybe_sent: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(f"the facilitator: {why}")
        self.why, self.maybe_sent, self.wait_s = why, maybe_sent, wait_s


class ArchiveUnavailable(TransportError):
    """The leaves of a batch are in an archive file, and it is not there, damaged, or not to be
    written."""

    def __init__(self, commitment: bytes, why: str) -> None:
        super().__init__(f"the archive of batch {commitment.hex()}: {why}")
        self.commitment, self.why = commitment, why


class FileNotJudged(TransportError):
    """The data file is there, but this version cannot judge it. Another version may."""


class BatchUndone(CoreChainError):
    """A reorg took the batch away while it was judged: the verdict would be of another chain."""

    def __init__(self, batch_id: int) -> None:
        super().__init__(f"batch {batch_id} does not stand any more where it was judged")
        self.batch_id = batch_id


class InvalidQuery(ProtocolError):
    """A parameter of the query is missing, malformed or out of its range."""

    status = 400

    def __init__(self, parameter: str, why: str) -> None:
        super().__init__(f"{parameter}: {why}")
        self.parameter, self.why = parameter, why


class NotInSubset(ProtocolError):
    """A question that other servers of SensorThings answer, and this one does not.

    OData names 501 for it. But what a client sends must not look like a failure of ours, to alerts
    and to proxies, so it is 400 under a name of its own."""

    status = 400

    def __init__(self, parameter: str, what: str) -> None:
        super().__init__(f"{parameter}: this server does not know {what} (docs/sensorthings.md)")
        self.parameter, self.what = parameter, what


class NotAcceptable(ProtocolError):
    """The answer has no form that the client accepts."""

    status = 406

    def __init__(self, offered: Sequence[str], why: str = "none of what is accepted") -> None:
        super().__init__(f"{why}; this path has {', '.join(offered)}")
        self.offered = tuple(offered)


class TooManyRequests(ProtocolError):
    """More requests than the key, or the address, may send. `headers`: where its limits stand."""

    status = 429

    def __init__(self, who: str, retry_after_s: int, headers: Mapping[str, str]) -> None:
        super().__init__(f"{who} may ask again in {retry_after_s} s")
        self.retry_after_s, self.headers = retry_after_s, headers


class UnknownApiKey(ProtocolError):
    """The API key is not one of this server."""

    status = 401


class Unavailable(ProtocolError):
    """Something that the answer needs does not answer at the moment."""

    status = 503

    def __init__(self, detail: str = "", retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s
