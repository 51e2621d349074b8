"""The durable queue between gateway and aggregator."""
