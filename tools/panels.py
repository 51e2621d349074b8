"""What the dashboards show: titles, units and queries. tools/dashboards.py makes JSON of it.

`@` in a query stands for the labels that the dashboard's variables choose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SELECTED = 'namespace=~"$namespace", job=~"$job", chain=~"$chain"'
Queries = Sequence[tuple[str, str]]
RATE = "$__rate_interval"
# Each of our processes has one of the two.
PRESENT = '{__name__=~"corechain_native|corechain_bridge_queue_reports", @}'


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: PromQL and legend. `unit`: one of Grafana's ids. `width` in 24ths."""

    title: str
    unit: str
    queries: Queries
    text: str = ""
    kind: str = "timeseries"
    width: int = 8


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


def stat(title: str, unit: str, query: str, text: str = "") -> Panel:
    return Panel(title, unit, [(query, "")], text, "stat", 4)


def total(metric: str, by: str = "") -> str:
    """A rate a second of a counter, by a label."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate(corechain_{metric}{{@}}[{RATE}]))"


def by_label(title: str, metric: str, label: str, text: str = "") -> Panel:
    return Panel(title, "ops", [(total(metric, label), f"{{{{{label}}}}}")], text)


def quantiles(title: str, metric: str, by: str = "", text: str = "") -> Panel:
    """p50, p95 and p99 of a histogram; the p95 of each value of a label."""
    legend = f" {{{{{by}}}}}" if by else ""
    labels = f"le, {by}" if by else "le"
    shares = (0.95,) if by else (0.5, 0.95, 0.99)
    bucket = f"sum by ({labels}) (rate(corechain_{metric}_bucket{{@}}[{RATE}]))"
    asked = [(f"histogram_quantile({s}, {bucket})", f"p{s * 100:g}{legend}") for s in shares]
    return Panel(title, "s", asked, text)


def gauges(title: str, unit: str, *metrics: str, fold: str = "sum", text: str = "") -> Panel:
    """One line a metric, of all pods together."""
    asked = [(f"{fold} (corechain_{name}{{@}})", name.replace("_", " ")) for name in metrics]
    return Panel(title, unit, asked, text)


OVERVIEW = Row(
    "At a glance",
    [
        stat("Reports accepted", "ops", total("reports_accepted_total")),
        stat("Readings verified", "ops", total("readings_total")),
        stat("Blocks behind", "none", "max (corechain_lag_blocks{@})"),
        stat(
            "p95 of answers",
            "s",
            "histogram_quantile(0.95, sum by (le) "
            f"(rate(corechain_request_seconds_bucket{{@}}[{RATE}])))",
        ),
        stat(
            "Loops not well",
            "none",
            'sum (corechain_loop_state{@, state=~"waiting|halted|failed"})',
        ),
        stat(
            "Alerts firing",
            "none",
            # There is no series before the first alert.
            'count (ALERTS{alertstate="firing"}) or vector(0)',
        ),
    ],
)
GATEWAY = Row(
    "1 Gateway: from the device to the bus",
    [
        Panel(
            "Reports and observations",
            "ops",
            [
                (total("reports_accepted_total"), "reports"),
                (total("observations_accepted_total"), "observations"),
            ],
        ),
        quantiles("Request to acknowledgement", "accept_seconds"),
        by_label("Refused by reason", "reports_rejected_total", "reason"),
        by_label("Refused early, by the limit", "refused_early_total", "limit"),
        Panel(
            "Requests that share a frame",
            "none",
            [
                (
                    f"sum (rate(corechain_frame_requests_sum{{@}}[{RATE}]))"
                    f" / sum (rate(corechain_frame_requests_count{{@}}[{RATE}]))",
                    "mean",
                )
            ],
        ),
        Panel(
            "MQTT",
            "none",
            [
                ("sum (corechain_mqtt_held{@})", "held"),
                ("min (corechain_mqtt_subscribed{@})", "subscribed"),
            ],
        ),
    ],
)
BUS = Row(
    "2 Bus",
    [
        Panel(
            "Lag of each lane",
            "none",
            [("sum by (lane) (corechain_lane_frames{@})", "lane {{lane}}")],
            "Frames of Valkey or Kafka that are in no batch yet.",
        ),
        gauges("Time to read all", "s", "bus_drain_seconds", fold="max", text="At 300 s: refusals"),
        gauges("Bytes on the bus", "bytes", "bus_bytes", fold="max"),
        by_label("Frames checked again", "frames_unvouched_total", "reason"),
        by_label("Dead letters", "dead_letters_total", "reason"),
        Panel("Frames lost by the bus", "none", [("sum (corechain_bus_regressed_total{@})", "")]),
    ],
)
AGGREGATOR = Row(
    "3 Aggregator: from frames to batches",
    [
        Panel(
            "Readings",
            "ops",
            [
                (total("readings_sealed_total"), "sealed"),
                (total("readings_failed_total"), "failed a rule"),
            ],
        ),
        Panel("Batches", "ops", [(total("batches_sealed_total"), "sealed")]),
        Panel(
            "Reports dropped",
            "ops",
            [
                (total("reports_duplicate_total"), "seen already"),
                (total("reports_conflicting_total"), "conflicting"),
                (total("reports_forwarded_total"), "of another lane"),
            ],
        ),
        gauges("In the window", "none", "window_reports", "waiting_frames"),
        gauges("Journal not folded", "bytes", "journal_unfolded_bytes"),
    ],
)
SUBMITTER = Row(
    "4 Submitter, guard and challenger: to the chain",
    [
        Panel(
            "Transactions in flight",
            "none",
            [("max by (queue, state) (corechain_intents_open{@})", "{{queue}} {{state}}")],
        ),
        Panel(
            "Held back, by reason",
            "none",
            [("max by (queue, reason) (corechain_intents_held{@})", "{{queue}} {{reason}}")],
        ),
        by_label("Sent, by the node's word", "transactions_sent_total", "said"),
        Panel(
            "Bumped, undone, capped",
            "ops",
            [
                (total("transactions_bumped_total"), "bumped"),
                (total("transactions_unconfirmed_total"), "undone by a reorg"),
                (total("fee_capped_total"), "at the fee cap"),
            ],
        ),
        Panel(
            "Bond: load of the ring",
            "percentunit",
            [("max by (queue) (corechain_ring_load{@})", "{{queue}}")],
            "Pace of a lane's batches by what its ring takes for good.",
        ),
        Panel(
            "Demands: time left",
            "s",
            [
                ("min (corechain_guard_deadline_seconds{@})", "nearest demand"),
                ("min (corechain_watchtower_deadline_seconds{@})", "nearest stale close"),
                ("min (corechain_challenger_deadline_seconds{@})", "nearest fraud's window"),
            ],
            "+Inf where there is none.",
        ),
        gauges("Demands open", "none", "guard_demands_open", "guard_alerts", fold="max"),
        Panel(
            "Balances",
            "none",
            [
                ("min (corechain_guard_balance_wei{@})", "guard"),
                ("min (corechain_challenger_balance_wei{@})", "challenger"),
            ],
            "In wei.",
        ),
        gauges("Challenger: not examined", "none", "challenger_unexamined", fold="min"),
        by_label("Challenger: frauds found", "challenger_frauds_total", "fraud"),
    ],
)
MIRROR = Row(
    "5 Mirror and verifier: from the chain to the index",
    [
        gauges("Blocks", "none", "head_block", "indexed_block", "final_block", fold="max"),
        Panel(
            "Distances",
            "none",
            [
                ("max (corechain_lag_blocks{@})", "node to index"),
                ("max (corechain_indexed_block{@} - corechain_final_block{@})", "index to final"),
            ],
        ),
        by_label("Events", "events_total", "event"),
        Panel(
            "Reorgs",
            "none",
            [
                ("sum (increase(corechain_reorgs_total{@}[1h]))", "an hour"),
                ("sum (increase(corechain_reorg_blocks_sum{@}[1h]))", "blocks an hour"),
            ],
        ),
        by_label("Data files by what came of them", "batches_total", "state"),
        quantiles("To verify a batch", "verify_seconds"),
        by_label("Nodes left out", "rpc_quarantined_total", "reason"),
        by_label("Incomplete answers of nodes", "answers_incomplete_total", "reason"),
    ],
)
QUERIES = Row(
    "6 Queries and streams",
    [
        by_label("Requests by path", "requests_total", "path"),
        by_label("Requests by status", "requests_total", "status"),
        quantiles("Request to answer, by path", "request_seconds", "path"),
        by_label("Refused", "requests_refused_total", "reason"),
        Panel(
            "Answered without a store",
            "ops",
            [
                (total("answers_kept_total"), "from memory"),
                (total("not_modified_total"), "not modified"),
            ],
        ),
        Panel(
            "Streams",
            "none",
            [
                ("sum (corechain_subscribers{@})", "subscribers"),
                (total("stream_deliveries_total"), "events a second"),
            ],
        ),
    ],
)
STORES = Row(
    "7 Stores",
    [
        Panel(
            "To answer a probe",
            "s",
            [("max by (job, probe) (corechain_probe_seconds{@})", "{{job}} {{probe}}")],
            "Postgres, Redis, bus and node, when /ready was asked last; +Inf without an answer.",
        ),
        Panel(
            "Connections to Postgres",
            "none",
            [("sum by (state) (corechain_connections{@})", "{{state}}")],
            "Of the API. Some wanted for long: too few, or Postgres is slow.",
        ),
        gauges("Replica behind by", "s", "replica_lag_seconds", fold="max"),
        Panel(
            "Postgres answered for another store",
            "ops",
            [(total("bypassed_total", "store, reason"), "{{store}} {{reason}}")],
        ),
        Panel(
            "Shards away",
            "none",
            [("max by (shard) (corechain_shard_away{@})", "shard {{shard}}")],
            "1 while one does not answer the mirror: its devices are not served.",
        ),
        gauges("InfluxDB away", "none", "series_away", fold="max"),
        Panel(
            "Downsampled points that are late",
            "none",
            [("max by (server) (corechain_series_stale{@})", "InfluxDB {{server}}")],
            "Spans whose points are due to be made anew. Back at 0 after each pass, unless the "
            "server is too slow for its series.",
        ),
        by_label("Archive files that failed", "archive_failures_total", "what"),
    ],
)
SERVICE = [
    Row(
        "Processes",
        [
            stat("Processes", "none", f"count ({PRESENT})"),
            stat("Verify in C", "none", "min (corechain_native{@})"),
            Panel(
                "Loops that are not well",
                "none",
                [
                    (
                        "sum by (pod, loop, state) "
                        '(corechain_loop_state{@, state=~"waiting|halted|failed"})',
                        "{{pod}} {{loop}} {{state}}",
                    )
                ],
                width=16,
            ),
            Panel(
                "Loops by state",
                "none",
                [("sum by (state) (corechain_loop_state{@})", "{{state}}")],
                width=12,
            ),
            Panel(
                "Sessions that ended",
                "ops",
                [(total("sessions_restarted_total", "pod, loop"), "{{pod}} {{loop}}")],
                width=12,
            ),
            Panel(
                "To answer a probe",
                "s",
                [("corechain_probe_seconds{@}", "{{pod}} {{probe}}")],
                width=12,
            ),
            Panel(
                "Newest block seen",
                "none",
                [("corechain_view_block{@}", "{{pod}} {{contract}}")],
                width=12,
            ),
            Panel(
                "Blocks whose logs are read, and kept for the next start",
                "none",
                [
                    ("corechain_view_read_block{@}", "{{pod}} {{contract}} read"),
                    ("corechain_view_kept_block{@}", "{{pod}} {{contract}} kept"),
                ],
                width=24,
            ),
        ],
    )
]
PATH = [OVERVIEW, GATEWAY, BUS, AGGREGATOR, SUBMITTER, MIRROR, QUERIES, STORES]
DASHBOARDS: Mapping[str, tuple[str, Sequence[Row]]] = {
    "corechain-path": ("CoreChain: the path of a reading", PATH),
    "corechain-service": ("CoreChain: one service", SERVICE),
}
