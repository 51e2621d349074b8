"""The bus on Apache Kafka: a lane is a partition. Import it only where the bus is Kafka: the client
`confluent-kafka` is an extra."""
