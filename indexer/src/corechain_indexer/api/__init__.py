"""The query API: verified data over HTTP, each answer with what proves it."""
