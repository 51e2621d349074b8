"""Postgres, Redis and the time series: where the mirrored chain and the verified data are kept."""

from corechain.service.sql import migrations, queries

MIGRATIONS = migrations(__package__)
SQL = queries(__package__)
