"""Metrics of all roles, in a registry of their own (no process-wide state)."""

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
        self.reports_accepted = counter("reports_accepted_total", "Reports acknowledged")
        self.reports_rejected = counter(
            "reports_rejected_total", "Reports or requests refused", "reason"
        )
        self.observations_accepted = counter("observations_accepted_total", "In those reports")
        self.receipts_signed = counter(
            "receipts_signed_total", "Receipts signed, each for the reports of a frame"
        )
        self.reports_receipted = counter("reports_receipted_total", "Reports in those receipts")
        self.receipts_refused = counter(
            "receipts_refused_total", "Reports acknowledged without the receipt asked for", "reason"
        )
        self.accept_seconds = Histogram(
            "corechain_accept_seconds", "From request to acknowledgement", registry=registry
        )
        self.frame_requests = Histogram(
            "corechain_frame_requests",
            "Requests that share a frame",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=registry,
        )
        self.bus_depth = gauge("bus_frames", "Frames on the bus that are in no batch yet")
        self.lane_frames = gauge(
            "lane_frames", "Frames of a lane that are in no batch yet: its lag", "lane"
        )
        self.bus_bytes = gauge("bus_bytes", "Bytes of frames on the bus that are in no batch yet")
        self.bus_drain = gauge(
            "bus_drain_seconds", "Estimated time until all on the fullest lane is read"
        )
        self.refused_early = counter(
            "refused_early_total",
            "Requests refused before they were read or verified, by the limit they met",
            "limit",
        )
        self.mqtt_subscribed = gauge("mqtt_subscribed", "1 while the broker sends us messages")
        self.mqtt_held = gauge(
            "mqtt_held", "Messages that the broker has sent and we have not acknowledged"
        )
        self.mqtt_messages = counter(
            "mqtt_messages_total", "Messages acknowledged, by what became of them", "outcome"
        )
        self.mqtt_answers = counter(
            "mqtt_answers_total", "Answers published, or dropped because too many waited", "outcome"
        )
        self.bus_group = Histogram(
            "corechain_bus_group_frames",
            "Frames written by one round trip",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.bus_regressed = counter(
            "bus_regressed_total", "Times the bus came back without frames it had acknowledged"
        )
        self.frames_unvouched = counter(
            "frames_unvouched_total",
            "Frames whose signatures were checked again, and why",
            "reason",
        )
        self.view_block = gauge("view_block", "Newest block in a view of the chain", "contract")
        self.view_read_block = gauge(
            "view_read_block",
            "Block up to which a view has read; view_block once it is whole",
            "contract",
        )
        self.view_kept_block = gauge(
            "view_kept_block",
            "Block up to which what a view has read is kept, for the next start",
            "contract",
        )
        self.answers_incomplete = counter(
            "answers_incomplete_total",
            "Answers of the node that lacked something: logs, blocks (behind), the final block",
            "reason",
        )
        self.views_rebuilt = counter(
            "views_rebuilt_total", "Views rebuilt after a reorg", "contract"
        )

        self.reports_duplicate = counter("reports_duplicate_total", "Dropped before a batch")
        self.reports_conflicting = counter(
            "reports_conflicting_total", "Same device and sequence, other content"
        )
        self.reports_forwarded = counter(
            "reports_forwarded_total", "Found on another lane than their own, and brought there"
        )
        self.dead_letters = counter("dead_letters_total", "Frames or reports set aside", "reason")
        self.batches_sealed = counter("batches_sealed_total", "Batches written to the journal")
        self.readings_sealed = counter("readings_sealed_total", "Leaves in those batches")
        self.readings_failed = counter("readings_failed_total", "Observations that are no leaf")
        self.window_reports = gauge("window_reports", "Reports in the open window")
        self.waiting_frames = gauge(
            "waiting_frames", "Frames with a device that our node does not know yet"
        )
        self.unfolded_bytes = gauge(
            "journal_unfolded_bytes", "What batches have changed for devices and is not folded yet"
        )
        self.windows_held = counter("windows_held_total", "Windows kept open: no leaf in them")

        self.intents_open = gauge(
            "intents_open", "Intents that are not final, by state", "queue", "state"
        )
        self.intents_held = gauge(
            "intents_held", "Intents kept from the chain, by reason", "queue", "reason"
        )
        self.ring_load = gauge(
            "ring_load", "Pace of a lane's batches by what its ring takes for good", "queue"
        )
        self.intents_pruned = counter(
            "intents_pruned_total", "Final intents dropped after their retention", "queue"
        )
        self.nonces_spent = counter(
            "nonces_spent_total", "Nonces found spent without doing what they were for", "queue"
        )
        self.transactions_sent = counter("transactions_sent_total", "By what the node said", "said")
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
        self.transactions_bumped = counter("transactions_bumped_total", "Replaced at a higher fee")
        self.transactions_unconfirmed = counter(
            "transactions_unconfirmed_total", "Confirmations undone by a reorg"
        )
        self.key_balance = gauge("key_balance_wei", "What the key of a queue can pay with", "queue")
        self.key_days_left = gauge(
            "key_days_left",
            "Days that this lasts at the pace of the last three; +Inf while nothing is spent",
            "queue",
        )
        self.queue_head_age = gauge(
            "queue_head_age_seconds", "Age of the oldest intent that is in no block", "queue"
        )
        self.nonce_gap = gauge(
            "nonce_gap", "Nonces below pending transactions that belong to nobody", "queue"
        )
        self.queue_paused = gauge("queue_paused", "1 while an operator has paused it", "queue")
        self.signer_failures = counter(
            "signer_failures_total",
            "Times that who holds a role's key did not sign, or not with that key",
            "role",
            "kind",
        )
        self.wishes = counter(
            "operator_wishes_total",
            "What operators wanted by the admin API, that was taken",
            "wish",
        )
        self.admin_refused = counter(
            "admin_refused_total", "Requests to the admin API without the right token"
        )
        self.fee_capped = counter("fee_capped_total", "Times the fee cap kept us waiting")
        self.confirmed_block = gauge("confirmed_block", "Block of the newest confirmed intent")
        self.disputes_answered = counter("disputes_answered_total", "Stale closes answered")
        self.watchtower_stale_closes = gauge(
            "watchtower_stale_closes", "Running challenges older than what we hold"
        )
        self.watchtower_deadline = gauge(
            "watchtower_deadline_seconds",
            "Chain time left of the nearest such challenge; +Inf without one",
        )
        self.watchtower_deadline.set(float("inf"))
        self.guard_demands_open = gauge("guard_demands_open", "Demands for data of our lane")
        self.guard_deadline = gauge(
            "guard_deadline_seconds", "Chain time left of the nearest demand; +Inf without one"
        )
        self.guard_deadline.set(float("inf"))
        self.guard_answered = counter("guard_answered_total", "Demands we answered", "kind")
        self.guard_unanswerable = counter(
            "guard_unanswerable_total", "Times a demand could not be answered", "kind", "reason"
        )
        self.guard_alerts = gauge("guard_alerts", "What the guard needs an operator for, now")
        self.challenger_examined = counter(
            "challenger_examined_total", "Batches of all lanes in which nothing wrong was found"
        )
        self.challenger_unexamined = gauge(
            "challenger_unexamined", "Batches in their window that were not found to be right"
        )
        self.challenger_frauds = counter(
            "challenger_frauds_total", "Frauds found in batches of any lane", "fraud"
        )
        self.challenger_faults = counter(
            "challenger_faults_total", "Failures of the challenger on a batch that nobody foresaw"
        )
        self.challenger_deadline = gauge(
            "challenger_deadline_seconds",
            "Chain time left of the nearest window with a fraud in it; +Inf without one",
        )
        self.challenger_deadline.set(float("inf"))
        self.challenger_alerts = gauge(
            "challenger_alerts", "What the challenger needs an operator for, now", "alert"
        )
        self.challenger_balance = gauge(
            "challenger_balance_wei", "What the challenger's key can pay with"
        )
        self.alerts = counter("alerts_total", "Alerts that fired or were resolved", "alert", "what")
        self.webhooks = counter(
            "webhooks_total", "Messages to receivers of alerts by what came of them", "to", "what"
        )
        self.guard_balance = gauge("guard_balance_wei", "What the guard's key can pay with")
        self.probe_seconds = gauge(
            "probe_seconds",
            "What this process needs: how long it took to answer /ready; +Inf without",
            "probe",
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
