"""The crash matrix has the servers and settings of the relayer's tests."""

from relayer.conftest import chain, database, environment, stream

__all__ = ["chain", "database", "environment", "stream"]
