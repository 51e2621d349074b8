"""The cache on a Redis Cluster: `redis+cluster://user:password@host1,host2:6380`, or by TLS
(`rediss+cluster://…?ssl_ca_certs=/etc/ca.pem`).

Any of its nodes may be named; the others are found. Every command and script of ours has one key,
so none is of two slots; pipelines are divided by node.
"""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from corechain.service.hosts import hosts_of
from corechain.service.redis_credentials import RenewedTls, with_credentials

CLUSTER_SCHEMES = "redis+cluster://", "rediss+cluster://"
CONNECT_LIMIT_S, ANSWER_LIMIT_S = 1.0, 5.0
TRIES, PAUSE_S = 3, 0.05
"""While a master is replaced, its slots are away for seconds: Postgres answers meanwhile."""
CONNECTIONS = 32
"""To each node."""
PORT = 6379


TLS_OPTIONS = "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"
"""redis-py's names, as in a URL of one server."""


def query_of(url: str) -> str:
    return url.partition("?")[2].partition("#")[0]


def cluster_of(url: str) -> RedisCluster:
    """Connects when it is first asked."""
    url, credentials = with_credentials(url)
    first = urlsplit(url.split(",")[0])
    options: dict[str, Any] = {"ssl": True} if url.startswith("rediss") else {}
    # Of the others a cluster has none; what is not passed on would be a promise not kept.
    options |= {name: text for name, text in parse_qsl(query_of(url)) if name in TLS_OPTIONS}
    if first.username:
        options["username"] = unquote(first.username)
    if first.password:
        options["password"] = unquote(first.password)
    nodes = [urlsplit(one) for one in hosts_of(url)]
    client = RedisCluster(
        startup_nodes=[ClusterNode(node.hostname or "", node.port or PORT) for node in nodes],
        # Its nodes name each other by address. When all of them have moved, as pods do, only the
        # names of the URL lead to them.
        dynamic_startup_nodes=False,
        # A part of the slots is better than none.
        require_full_coverage=False,
        max_connections=CONNECTIONS,
        socket_connect_timeout=CONNECT_LIMIT_S,
        socket_timeout=ANSWER_LIMIT_S,
        retry=Retry(ConstantBackoff(PAUSE_S), TRIES),
        **options,
        **credentials,
    )
    if "ssl" in options:
        client.connection_kwargs["connection_class"] = RenewedTls
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = RenewedTls
    return client
