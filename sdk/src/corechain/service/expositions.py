"""Metrics of several processes as one text: each sample with the worker that it is from."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

LABEL = "worker"


class _Merged:
    """A collector of the families of all; one family has one head in the text format."""

    def __init__(self, own: bytes, workers: Mapping[int, bytes]) -> None:
        self._families: dict[str, Metric] = {}
        self._add(own, {})
        for number, text in workers.items():
            self._add(text, {LABEL: str(number)})

    def _add(self, exposition: bytes, labels: Mapping[str, str]) -> None:
        for family in text_string_to_metric_families(exposition.decode()):
            kept = Metric(family.name, family.documentation, family.type)
            kept = self._families.setdefault(family.name, kept)
            for sample in family.samples:
                kept.add_sample(sample.name, {**sample.labels, **labels}, sample.value)

    def collect(self) -> Iterable[Metric]:
        return self._families.values()


def merged(own: bytes, workers: Mapping[int, bytes]) -> bytes:
    """Expositions in the text format as one: the supervisor's own samples as they are, those of
    worker n with the label `worker="n"`. Sums over the label are the service's."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(own, workers))
    return generate_latest(registry)
