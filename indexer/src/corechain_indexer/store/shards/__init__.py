"""Segments divided by device over several Postgres (docs/decisions/0052).

The chain-wide database says which batches stand; shards have the segments of their devices, of
these batches and perhaps of others. Segments are written to the shards first and dropped there
last, so that a batch counts from the very transaction that makes it verified, and no longer than
it is.
"""

from corechain.service.sql import migrations, queries

MIGRATIONS = migrations(__package__)
SHARD_SQL = queries(__package__)
