"""Metrics of the bridge, in a registry of their own. No label holds anything that was sent."""

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from corechain.service.tracing import NO_TRACES, Traces


class Metrics:
    """One attribute a metric. `format` is one of ours, `reason` the name of an error or a skip."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"corechain_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"corechain_{name}", text, labels, registry=registry)

        self.uploads = counter("bridge_uploads_total", "Uploads that were taken", "format")
        self.refused = counter(
            "bridge_uploads_refused_total", "Uploads that were refused", "format", "reason"
        )
        self.skipped = counter(
            "bridge_fields_skipped_total", "Fields that are no observation", "format", "reason"
        )
        self.observations = counter(
            "bridge_observations_total", "Observations that were signed", "format"
        )
        self.sent = counter("bridge_reports_sent_total", "Reports that the gateway holds")
        self.lost = counter(
            "bridge_reports_refused_total", "Reports that the gateway refused for good", "reason"
        )
        self.queue = gauge("bridge_queue_reports", "Reports that wait for the gateway")
        self.oldest = gauge("bridge_queue_oldest_seconds", "Age of the oldest of them")
        self.unknown = gauge("bridge_stations_unknown", "Stations that the gateway does not know")
        self.polls = counter("bridge_polls_total", "Answers of polled sources", "outcome")
        self.mqtt_subscribed = gauge("bridge_mqtt_subscribed", "1 while a broker has us")
        self.mqtt_held = gauge("bridge_mqtt_held", "Messages of a broker, not acknowledged yet")
        self.sessions_restarted = counter(
            "sessions_restarted_total", "Sessions of a loop that ended", "loop"
        )
        self.spans = counter("spans_total", "Spans of traces by what became of them", "outcome")
        self.traces: Traces = NO_TRACES
        """Who takes spans; another one once the settings are known."""
        self.loop_state = gauge("loop_state", "1 for the state that a loop is in", "loop", "state")

    def spans_told(self, outcome: str, count: int) -> None:
        self.spans.labels(outcome).inc(count)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)
