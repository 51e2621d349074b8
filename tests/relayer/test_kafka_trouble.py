"""What librdkafka says of a broker goes into `/ready`: what failed, not where the broker is."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from corechain_relayer.bus.kafka.clients import trouble_of, unavailable

CASES = {
    "ours.example:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused": (
        "the broker: Connect to the broker failed: Connection refused"
    ),
    "sasl_ssl://ours.example:9093/1: SASL authentication error": (
        "the broker: SASL authentication error"
    ),
    "Failed to resolve 'ours.example:9092': Name or service not known": (
        "Failed to resolve 'the broker': Name or service not known"
    ),
}


@pytest.mark.parametrize(("said", "told"), CASES.items())
def test_the_address_of_a_broker_is_left_out(said: str, told: str) -> None:
    error = KafkaError(KafkaError._TRANSPORT, said)
    assert str(trouble_of(error)) == f"Kafka: no broker can be reached: {told}"
    assert "ours.example" not in str(unavailable(KafkaException(error)))
