"""Metrics of mirror and query API, in a registry of their own (no process-wide state)."""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from corechain.implementation import is_native
from corechain.service.tracing import NO_TRACES, Traces


class Metrics:
    """One attribute a metric; the labels `reason` carry the error names of docs/protocol.md."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"corechain_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"corechain_{name}", text, labels, registry=registry)

        self.native = gauge("native", "1 where corechain-native checks signatures, 0 in Python")
        self.native.set(is_native())
        self.head_block = gauge("head_block", "Newest block of the node")
        self.indexed_block = gauge("indexed_block", "Newest mirrored block")
        self.final_block = gauge("final_block", "Newest mirrored block that is final")
        self.lag_blocks = gauge("lag_blocks", "Blocks between the two")
        self.catching_up = gauge(
            "catching_up_blocks",
            "Blocks that contracts, or events, which came later are still behind the others",
            "what",
        )
        self.events = counter("events_total", "Events mirrored", "event")
        self.logs_malformed = counter(
            "logs_malformed_total", "Logs of ours in a wrong shape, or that Postgres refused"
        )
        self.answers_incomplete = counter(
            "answers_incomplete_total",
            "Answers of the node that lacked something: logs, blocks (behind), the final block",
            "reason",
        )
        self.rpc_quarantined = counter(
            "rpc_quarantined_total",
            "Times that one of several nodes was left out, by its number in the settings",
            "node",
            "reason",
        )
        self.rpc_in_use = gauge("rpc_in_use", "1 while one of several nodes is in use", "node")
        self.rpc_heads = gauge("rpc_head_block", "Newest block of one of several nodes", "node")
        self.rpc_lost = gauge(
            "rpc_quorum_lost_seconds", "Time since fewer nodes say the same than must; 0: enough do"
        )
        self.reorgs = counter("reorgs_total", "Rollbacks after a reorg")
        self.reorg_blocks = Histogram(
            "corechain_reorg_blocks",
            "Blocks rolled back at once",
            buckets=(1, 2, 4, 8, 16, 64, 256),
            registry=registry,
        )
        self.batches = counter("batches_total", "Data files by what came of them", "state")
        self.verifier_faults = counter(
            "verifier_faults_total", "Data files that the verifier itself failed on"
        )
        self.readings = counter("readings_total", "Verified readings stored")
        self.verify_seconds = Histogram(
            "corechain_verify_seconds", "To recompute one batch", registry=registry
        )
        self.bypassed = counter(
            "bypassed_total",
            "Queries that Postgres answered because another store could not be trusted",
            "store",
            "reason",
        )
        self.replica_lag = gauge(
            "replica_lag_seconds", "Age of what the replica of Postgres holds; +Inf if not known"
        )
        self.shard_away = gauge(
            "shard_away", "1 while a shard, by its number, does not answer the mirror", "shard"
        )
        self.series_away = gauge(
            "series_away",
            "1 while an InfluxDB, by its number in the settings, cannot be told what changes",
            "server",
        )
        self.series_stale = gauge(
            "series_stale",
            "Spans of time whose downsampled points in an InfluxDB are due to be made anew",
            "server",
        )
        self.series_refused = counter(
            "series_refused_total", "Readings that InfluxDB refused for what they are"
        )
        self.archived = counter(
            "batches_archived_total", "Batches whose leaves were moved into an archive file"
        )
        self.archive_failures = counter(
            "archive_failures_total", "Archive files that could not be read or written", "what"
        )
        self.epochs = counter("epochs_total", "Reward roots by what came of them", "state")
        self.requests = counter("requests_total", "Requests by path and status", "path", "status")
        self.answers_kept = counter(
            "answers_kept_total", "Queries answered from memory, as nothing had changed"
        )
        self.refused = counter("requests_refused_total", "Requests refused", "reason")
        self.request_seconds = Histogram(
            "corechain_request_seconds",
            "From request to answer",
            ["path"],
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
            registry=registry,
        )
        self.exports_cut = counter(
            "exports_cut_total", "Exports that ended before their end", "reason"
        )
        self.not_modified = counter(
            "not_modified_total", "Answers that a client had already, by path", "path"
        )
        self.requests_by_key = counter(
            "requests_by_key_total", "Requests by name of their API key, or anonymous", "key"
        )
        self.limited = counter(
            "requests_limited_total", "Requests beyond a limit, by name of their API key", "key"
        )
        self.paid = counter("queries_paid_total", "Queries paid by voucher")
        self.repeated = counter(
            "answers_repeated_total", "Paid answers sent again to payers that lost them"
        )
        self.vouchers_endangered = gauge(
            "vouchers_endangered", "Channels whose payer withdraws what it owes"
        )
        self.vouchers_deadline = gauge(
            "vouchers_deadline_seconds",
            "Chain time until the nearest such withdrawal can be finished; +Inf without one",
        )
        self.vouchers_deadline.set(float("inf"))
        self.rescues = counter(
            "vouchers_rescued_total", "Vouchers redeemed before a withdrawal, or failures", "what"
        )
        self.subscribers = gauge("subscribers", "Open batch streams")
        self.subscribers_dropped = counter(
            "subscribers_dropped_total",
            "Batch streams ended by us, or lost without a goodbye",
            "reason",
        )
        self.deliveries = counter("stream_deliveries_total", "Events sent to live subscribers")
        self.alerts = counter("alerts_total", "Alerts that fired or were resolved", "alert", "what")
        self.webhooks = counter(
            "webhooks_total", "Messages to receivers of alerts by what came of them", "to", "what"
        )
        self.probe_seconds = gauge(
            "probe_seconds",
            "What this process needs: how long it took to answer /ready; +Inf without",
            "probe",
        )
        self.connections = gauge(
            "connections", "To Postgres for questions of the API: open, idle, or wanted", "state"
        )
        self.access_refused = counter(
            "access_refused_total", "A server refused what a setting says of us", "setting"
        )
        self.sessions_restarted = counter(
            "sessions_restarted_total", "Sessions of a loop that ended", "loop"
        )
        self.spans = counter("spans_total", "Spans of traces by what became of them", "outcome")
        # Beside the counts: whoever tells of himself by the one does by the other.
        self.traces: Traces = NO_TRACES
        self.loop_state = gauge("loop_state", "1 for the state that a loop is in", "loop", "state")

    def spans_told(self, outcome: str, count: int) -> None:
        self.spans.labels(outcome).inc(count)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


@dataclass(slots=True)
class Meter:
    """Counts the answers of a path. Children are kept: to find one by its labels costs more than to
    add to it."""

    metrics: Metrics
    path: str
    _seconds: Histogram | None = None
    _counts: dict[int, Counter] = field(default_factory=dict)

    def answered(self, status: int, seconds: float) -> None:
        if self._seconds is None:
            # Not before the first answer: a path that nobody asks for is no series.
            self._seconds = self.metrics.request_seconds.labels(self.path)
        self._seconds.observe(seconds)
        if status not in self._counts:
            self._counts[status] = self.metrics.requests.labels(self.path, str(status))
        self._counts[status].inc()
