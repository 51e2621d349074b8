"""The network as it is grown past one machine, small: `corechain up --profile cluster`."""

from functools import cached_property

from corechain.devnet.network import Network
from corechain.devnet.patroni import PatroniCluster
from corechain.devnet.settings import SERVICES


class ClusterNetwork(Network):
    """Three Postgres under Patroni, by three etcd, a PgBouncer before each: `postgres-1` …,
    `etcd-1` …, `pgbouncer-1` ….

    Everything else as in Network, and raises what that raises.
    """

    @cached_property
    def patroni(self) -> PatroniCluster:
        return PatroniCluster(self.home / "cluster")

    @property
    def databases(self) -> PatroniCluster:
        return self.patroni

    def _start_databases(self) -> None:
        self._progress("starting three Postgres under Patroni")
        # Before the start, so that an interrupted one is stopped too.
        self._started += self.patroni.servers
        self.patroni.start()
        for name in SERVICES:
            self.patroni.create_database(name)

    def _own_settings(self, service: str) -> dict[str, str]:
        return super()._own_settings(service) | self._database_settings(service)

    def _database_settings(self, service: str) -> dict[str, str]:
        if service not in SERVICES:
            return {}
        prefix, pooled = service.upper(), self.patroni.pooled_url(service)
        settings = {
            f"{prefix}_DATABASE_URL": pooled,
            f"{prefix}_DATABASE_DIRECT_URL": self.patroni.database_url(service),
        }
        return settings | ({"INDEXER_REPLICA_URL": pooled} if service == "indexer" else {})
