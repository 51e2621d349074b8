"""The paths of the query API in one table: what is served, what it takes, what it answers."""

import re
from dataclasses import dataclass, replace
from typing import Any

from corechain_indexer.api import channel_schemas, schemas
from corechain_indexer.api.media import tables
from corechain_indexer.api.media.formats import ALL_FORMATS, ONLY_JSON, Format
from corechain_indexer.api.media.tables import Table
from corechain_indexer.api.params import BATCHES, BOUNDS, FORMAT, FRESH
from corechain_indexer.api.sensorthings import documents
from corechain_indexer.api.sensorthings.options import NAMES, RESULT_FORMAT
from corechain_indexer.api.sensorthings.paths import ROOT as SENSORTHINGS


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`name` is the method of `Handlers`; `parameters` those of the query.

    `paid` is every path that hands out values of devices, rejected ones too, in whatever form: what
    costs something at one door must not be free at another. `table`: of a list, which has other
    forms than JSON. `timed`: the answer changes without any block, with the node or the clock.
    """

    path: str
    name: str
    summary: str
    answer: Any
    parameters: tuple[str, ...] = ()
    paid: bool = False
    table: Table | None = None
    timed: bool = False
    required: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    """Tables of the mirror from which the answer is made."""
    aliases: tuple[str, ...] = ()
    """Other ways to write the path, which are not shown."""
    deep: bool = False
    """Whether its last place holds the rest of the path, with slashes."""

    @property
    def formats(self) -> tuple[Format, ...]:
        return ONLY_JSON if self.table is None else ALL_FORMATS

    @property
    def route(self) -> str:
        """The path as Starlette takes it."""
        return self.path.removesuffix("}") + ":path}" if self.deep else self.path

    @property
    def path_parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


PAGED = ("limit", "cursor")
DEVICES = ("device_event", "fleet_device")
# Whether a batch is verified hangs on what counted as a device's key at its block.
VERDICTS = ("batch", *DEVICES)
PAYMENTS = ("payment_channel", "payment_event")
EPOCHS = ("root_event", *VERDICTS)
_READS = {
    "status": (),
    "network": (),
    "devices": DEVICES,
    "device": DEVICES,
    "batches": VERDICTS,
    "batch": VERDICTS,
    "rejections": VERDICTS,
    "proof": VERDICTS,
    "readings": VERDICTS,
    "statistics": VERDICTS,
    "history": VERDICTS,
    "series": VERDICTS,
    "latest": VERDICTS,
    "stations": VERDICTS,
    "reward": (*EPOCHS, "claim_event"),
    "epochs": EPOCHS,
    "channels": PAYMENTS,
    "state_channels": ("state_channel_event",),
    "channel": (*PAYMENTS, "state_channel_event"),
    "sensorthings": (),
    "sensorthings_resource": VERDICTS,
}

_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("/v1/status", "status", "How far the chain is mirrored", schemas.Status, timed=True),
    Endpoint("/v1/network", "network", "Chain and contracts of this index", schemas.Network),
    Endpoint(
        "/v1/devices", "devices", "Devices by id", schemas.Devices, PAGED, table=tables.DEVICES
    ),
    Endpoint("/v1/devices/{device}", "device", "One device", schemas.Device),
    Endpoint(
        "/v1/batches",
        "batches",
        "Batches by id",
        schemas.Batches,
        (*PAGED, "after", "state", "order", *BOUNDS),
        table=tables.BATCHES,
    ),
    Endpoint("/v1/batches/{id}", "batch", "One batch", schemas.Batch),
    Endpoint(
        "/v1/batches/{id}/rejections",
        "rejections",
        "Observations that failed, with reasons",
        schemas.Rejections,
        PAGED,
        paid=True,
        table=tables.REJECTIONS,
    ),
    Endpoint(
        "/v1/batches/{id}/readings/{position}/proof",
        "proof",
        "A reading and the proof that it is in its batch",
        schemas.ReadingProof,
        paid=True,
    ),
    Endpoint(
        "/v1/readings",
        "readings",
        "Verified readings of a device",
        schemas.Readings,
        ("device", "metric", "from", "to", "proofs", *PAGED, *BOUNDS),
        paid=True,
        table=tables.READINGS,
        required=("device",),
    ),
    Endpoint(
        "/v1/statistics",
        "statistics",
        "Statistics of a device's metric, or of a region's, with a proof for every batch",
        schemas.Statistics,
        ("metric", "device", "cell", "resolution", "from", "to", *BATCHES, *BOUNDS),
        paid=True,
        required=("metric",),
    ),
    Endpoint(
        "/v1/history",
        "history",
        "All readings of a device or a region, batch by batch, so that none can be left out",
        schemas.History,
        (
            *("metric", "device", "cell", "resolution", "from", "to", "order", "since_block"),
            *("cursor", *BOUNDS),
        ),
        paid=True,
    ),
    Endpoint(
        "/v1/series",
        "series",
        "Downsampled series of a device's metric",
        schemas.Series,
        ("metric", "device", "from", "to", "bucket", "limit", *BOUNDS),
        paid=True,
        table=tables.SERIES,
        required=("metric", "device"),
    ),
    Endpoint(
        "/v1/latest",
        "latest",
        "Newest value per metric",
        schemas.Latest,
        ("device", *BOUNDS),
        paid=True,
        required=("device",),
    ),
    Endpoint(
        "/v1/stations",
        "stations",
        "Devices that have readings, by id, with their place and the newest value of a metric",
        schemas.Stations,
        ("metric", *PAGED),
        paid=True,
        required=("metric",),
    ),
    Endpoint(
        "/v1/rewards/{owner}", "reward", "Claimable rewards with proof", schemas.Reward, timed=True
    ),
    Endpoint("/v1/epochs", "epochs", "Reward roots", schemas.Epochs, PAGED, table=tables.EPOCHS),
    Endpoint(
        "/v1/channels",
        "channels",
        "Payment channels",
        channel_schemas.PaymentChannels,
        ("payer", *PAGED),
        table=tables.CHANNELS,
    ),
    Endpoint(
        "/v1/state-channels",
        "state_channels",
        "State channels",
        channel_schemas.StateChannels,
        ("party", *PAGED),
        table=tables.STATE_CHANNELS,
    ),
    Endpoint(
        "/v1/channels/{id}",
        "channel",
        "A payment or state channel",
        channel_schemas.PaymentChannel | channel_schemas.StateChannel,
    ),
    Endpoint(
        SENSORTHINGS,
        "sensorthings",
        "OGC SensorThings API 1.1: its entity sets, and what of it this server has",
        documents.SensorThingsRoot,
        aliases=(f"{SENSORTHINGS}/",),
    ),
    Endpoint(
        f"{SENSORTHINGS}/{{resource}}",
        "sensorthings_resource",
        "Stations and readings as entities of SensorThings (docs/sensorthings.md)",
        documents.SensorThingsDocument,
        (*NAMES, RESULT_FORMAT, *BOUNDS),
        paid=True,
        deep=True,
    ),
)

ENDPOINTS = tuple(
    replace(item, parameters=(*item.parameters, *FRESH, FORMAT), reads=_READS[item.name])
    for item in _ENDPOINTS
)
