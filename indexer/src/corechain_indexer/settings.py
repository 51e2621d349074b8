"""Everything an operator can set: `INDEXER_*` in the environment, validated once, at start."""

import re
from functools import partial
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from corechain.service.named_url import NamedUrl
from corechain.service.node_settings import NodeSettings
from corechain.service.settings import (
    PORT_MEANING,
    AlertSettings,
    CacheUrl,
    DatabaseUrl,
    HttpSettings,
    NodeUrl,
    PrivateKey,
    SocketUrls,
    TraceSettings,
    listed,
    listed_or_unset,
    load,
)
from corechain_indexer.influx_settings import InfluxSettings

PREFIX = "INDEXER_"
MOST_SHARDS = 256
"""A process has connections to each of them."""
_GLUED = re.compile(r"[,;](?:postgres(?:ql)?://|$)")
"""What separates lists elsewhere: here it would make one database of several."""
# As browsers write one (RFC 6454, section 6.2): no path, not even a slash at the end.
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)


def _check_url(template: str) -> None:
    import httpx  # on first use: `corechain --help` reads this module too

    try:
        url = httpx.URL(template.replace("{commitment}", "0"))
    except httpx.InvalidURL as error:
        raise ValueError(f"a template is not a URL: {error}") from None
    if url.scheme != "file" and not url.host:
        raise ValueError("a template is a URL without a host")


class Settings(InfluxSettings, AlertSettings, TraceSettings, HttpSettings, NodeSettings):
    """Settings of mirror and query API. Times in seconds, sizes in bytes."""

    ENV_PREFIX: ClassVar = PREFIX

    deployment: Path = Field(description="manifest of the contracts, `deployments/<chain id>.json`")
    database_url: DatabaseUrl = Field(description="Postgres with the mirrored chain")
    database_direct_url: DatabaseUrl | None = Field(
        None,
        description="the same database without its pooler, where DATABASE_URL is a PgBouncer in "
        "transaction mode: for locks and migrations, which need a session",
    )
    replica_url: DatabaseUrl | None = Field(
        None,
        description="a streaming replica of that Postgres, for the API to read from; or several, "
        "or all members of a cluster: `postgresql://h1,h2,h3/name`",
    )
    replica_max_lag_s: float = Field(
        10.0,
        gt=0,
        le=3_600,
        description="how far the replica may be behind; the primary answers when it is further",
    )
    replica_alone_s: float = Field(
        60.0,
        ge=0,
        le=3_600,
        description="how long a replica goes on answering plain queries while the primary is away, "
        "as in a failover: what is read then may be so much older",
    )
    shard_urls: SecretStr | None = Field(
        None,
        description="Postgres that readings are divided over by device: 1, 2, 4, 8 … databases of "
        "their own, separated by spaces, never in another order; unset: all is in DATABASE_URL",
    )
    redis_url: CacheUrl = Field(
        description="cache of newest values, and announcements: `redis://…`, on the same machine "
        "`unix:///SOCKET?db=0`, or a Redis Cluster, `redis+cluster://HOST,HOST`"
    )
    data_urls: str = Field(
        description="where data files are, comma separated: `http(s)://…{commitment}`, `file://…`"
    )

    confirmations: int = Field(
        64,
        ge=1,
        le=100_000,
        description="depth at which a block is final where the node says it has no `finalized`",
    )
    log_range_blocks: int = Field(
        2_000,
        ge=1,
        le=1_000_000,
        description="most blocks in one eth_getLogs call; fewer where logs are dense, or refused",
    )
    poll_s: float = Field(0.5, ge=0.02, le=60, description="pause between two looks at the chain")
    ws_url: SocketUrls | None = Field(
        None, description="where nodes push new heads, comma separated; else at RPC_URL"
    )
    fetch_timeout_s: float = Field(
        60.0,
        gt=0,
        le=3_600,
        description="time in which the whole of a data file has to arrive from a source",
    )
    fetch_at_once: int = Field(
        4,
        ge=1,
        le=64,
        description="data files under way at once; each may take MAX_FILE_BYTES of memory",
    )
    max_file_bytes: int = Field(256 << 20, ge=1 << 10, le=4 << 30, description="largest data file")
    retry_after_s: float = Field(
        2.0,
        ge=0.05,
        le=3_600,
        description="pause before a withheld data file is tried again; doubles up to 300 s",
    )
    pack_after_days: int = Field(
        7,
        ge=0,
        le=36_500,
        description="days after which the leaves of a final batch are kept compressed",
    )
    merge_after_days: int | None = Field(
        None,
        ge=0,
        le=36_500,
        description="days after a day's end at which what a device sent singly on it becomes one "
        "row, for fleets that send an observation a batch; else never",
    )
    archive_dir: Path | None = Field(
        None,
        description="folder of archive files, shared by all who read this database; see "
        "KEEP_READINGS_DAYS",
    )
    keep_readings_days: int | None = Field(
        None,
        ge=0,
        le=36_500,
        description="days after which packed leaves move from Postgres to ARCHIVE_DIR; else never",
    )
    fresh_wait_s: float = Field(
        5.0,
        ge=0,
        le=60,
        description="time that a query with `min_block` or `after_tx` waits for the mirror",
    )
    tree_cache_bytes: int = Field(
        256 << 20,
        ge=1 << 20,
        le=64 << 30,
        description="memory for the trees that proofs are made from",
    )

    answer_cache_bytes: int = Field(
        64 << 20,
        ge=0,
        le=64 << 30,
        description="memory for answers that are given again until something changes",
    )
    max_queries: int = Field(
        32,
        ge=1,
        le=10_000,
        description="queries worked on at a time, by each process; more wait, or are refused",
    )

    price_per_query: int = Field(
        0, ge=0, lt=1 << 128, description="price of a query in base units of the token; 0 is free"
    )
    payee_key: PrivateKey | None = Field(
        None, description="private key that is paid and redeems; needed when queries cost something"
    )
    redeem_endangered: bool = Field(
        True,
        description="redeem by itself what a payer begins to withdraw while it owes it; by "
        "PAYEE_KEY, which pays the gas",
    )
    redeem_least: int = Field(
        1,
        ge=1,
        lt=1 << 128,
        description="base units that a channel must owe for that: what costs more gas than it is "
        "worth is left",
    )
    redeem_max_fee_per_gas: int = Field(
        10_000_000_000_000, ge=1, le=10**15, description="cap of the fee for that, wei per gas"
    )
    facilitator_url: NodeUrl | None = Field(
        None, description="an x402 facilitator, so that a first payment may bring its deposit"
    )

    cors_origins: str = Field(
        "*",
        description="pages that may read answers in browsers: `https://…`, comma separated, or `*` "
        "for all; empty: none",
    )
    public_rpc_url: NodeUrl | None = Field(
        None,
        description="a node that browsers may ask: what the explorer proposes to check answers "
        "against, told to everybody by `/v1/network`",
    )
    api_keys_file: Path | None = Field(
        None, description="TOML file of API keys with their limits (`corechain indexer api-key`)"
    )
    anonymous_per_second: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="queries a second from an address (IPv6: a /64) without a key; 0: no limit",
    )
    anonymous_per_day: int = Field(
        0, ge=0, le=10**12, description="the same, from one midnight UTC to the next"
    )
    burst_s: int = Field(
        10,
        ge=1,
        le=3_600,
        description="so many seconds' worth of a limit a second may come at once",
    )

    alert_every_s: float = Field(10.0, ge=0.1, le=3_600, description="pause between two looks")
    alert_silent_s: int = Field(
        0,
        ge=0,
        le=1 << 31,
        description="alert when a device's newest reading is older; 0: never",
    )
    alert_unverified_s: int = Field(
        600,
        ge=0,
        le=1 << 31,
        description="alert when a batch has no verdict or data file, or the mirror lags, so long",
    )
    alert_lag_blocks: int = Field(
        100, ge=0, le=1 << 31, description="alert when the mirror is so far behind; 0: never"
    )
    alert_node_away_s: int = Field(
        60, ge=0, le=1 << 31, description="alert when the node has been away so long"
    )
    alert_reorg_blocks: int = Field(
        8, ge=0, le=1 << 31, description="alert when a reorg takes back so many blocks; 0: never"
    )
    alert_deadline_s: int = Field(
        3_600,
        ge=0,
        le=1 << 31,
        description="alert so long before a channel's deadline; 0: not before it",
    )
    alert_parties: str = Field(
        "",
        pattern=r"^(0x[0-9a-fA-F]{40}(\s*,\s*0x[0-9a-fA-F]{40})*)?$",
        description="whose state channels are watched, addresses, comma separated; none: all",
    )

    http_port: int = Field(8702, ge=0, le=65_535, description=PORT_MEANING)
    api_workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that answer queries at HTTP_PORT; over 1 it takes an OPS_PORT",
    )
    max_subscribers: int = Field(
        10_000, ge=1, le=100_000, description="open streams of batch events at a time, a process"
    )
    keep_events: int = Field(
        1_000_000,
        ge=10_000,
        le=1_000_000_000,
        description="batch events that a subscriber can go back to by its cursor; two a batch",
    )
    redis_events: int = Field(
        10_000,
        ge=100,
        le=10_000_000,
        description="batch events in the stream in Redis, for services that read it themselves",
    )
    log_level: str = Field(
        "info", pattern=r"^(debug|info|warning|error)$", description="debug, info, warning or error"
    )

    @field_validator("data_urls")
    @classmethod
    def _templates(cls, value: str) -> str:
        for template in listed_or_unset(value):
            if "{commitment}" not in template:
                raise ValueError("every template needs {commitment}")
            if not template.startswith(("http://", "https://", "file://")):
                raise ValueError("every template starts with http://, https:// or file://")
            _check_url(template)
        return value

    @field_validator("keep_readings_days")
    @classmethod
    def _somewhere_to_go(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("archive_dir") is None:
            raise ValueError("needs ARCHIVE_DIR, a folder where old readings go")
        return value

    @field_validator("shard_urls")
    @classmethod
    def _shards(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        urls = value.get_secret_value().split()
        if any(_GLUED.search(url) for url in urls):
            raise ValueError("its URLs are separated by spaces; commas are between a URL's hosts")
        if not urls or len(urls) > MOST_SHARDS or len(urls) & (len(urls) - 1):
            raise ValueError(f"names {len(urls)} databases, not a power of two up to {MOST_SHARDS}")
        if not all(url.startswith(("postgresql://", "postgres://")) for url in urls):
            raise ValueError("every URL starts with postgresql:// or postgres://")
        if len(set(urls)) < len(urls):
            raise ValueError("names a database twice")
        return value

    @property
    def shards(self) -> list[str]:
        """URLs of the shards, by their numbers; none where nothing is divided."""
        if self.shard_urls is None:
            return []
        urls = self.named_url("shard_urls")
        return [
            NamedUrl(url, urls.setting, partial(self._shard_now, number, url))
            for number, url in enumerate(urls.split())
        ]

    def _shard_now(self, number: int, held: str) -> str:
        now = self.read_again("shard_urls").split()
        return now[number] if len(now) == len(self.shards) else held

    @property
    def head_urls(self) -> list[str]:
        """Where new heads are listened for."""
        return self.node_urls if self.ws_url is None else self.named_urls("ws_url")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in listed_or_unset(value):
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError("an origin is http(s)://host[:port], in lower case, or *")
        return value

    @property
    def cors_allowed(self) -> frozenset[str]:
        return frozenset(listed(self.cors_origins))

    @property
    def session_url(self) -> str:
        """Where a connection is a session of Postgres, which holds locks."""
        return self.named_url("database_direct_url", "database_url")

    @property
    def data_templates(self) -> list[str]:
        """Where data files are looked for, in order."""
        return listed(self.data_urls)


def load_settings() -> Settings:
    """The settings of this process. Raises InvalidSetting with one sentence, without any value."""
    return load(Settings)
