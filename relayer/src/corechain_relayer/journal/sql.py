"""The named queries of `sql/queries.sql` and the migrations beside it."""

from corechain.service import sql

PACKAGE = "corechain_relayer.journal"


def query(name: str) -> str:
    return sql.queries(PACKAGE)[name]


def migrations() -> list[tuple[str, str]]:
    return sql.migrations(PACKAGE)
