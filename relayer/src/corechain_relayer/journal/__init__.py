"""The relayer's memory in Postgres: batches, intents, sequences, quality state."""
