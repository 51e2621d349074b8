"""The paths of the query API in one table: what is served, what it takes, what it answers."""

import re
from dataclasses import dataclass, replace
from typing import Any

from corechain_indexer.api import schemas
from corechain_indexer.api.params import BOUNDS, FRESH


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`name` is the method of `Handlers`; `parameters` those of the query.

    `paid` is every path that hands out values of devices, rejected ones too, in whatever form: what
    costs something at one door must not be free at another.
    """

    path: str
    name: str
    summary: str
    answer: Any
    parameters: tuple[str, ...] = ()
    paid: bool = False

    @property
    def path_parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


PAGED = ("limit", "cursor")

_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("/v1/status", "status", "How far the chain is mirrored", schemas.Status),
    Endpoint("/v1/devices", "devices", "Devices by id", schemas.Devices, PAGED),
    Endpoint("/v1/devices/{device}", "device", "One device", schemas.Device),
    Endpoint(
        "/v1/batches", "batches", "Batches by id", schemas.Batches, (*PAGED, "state", *BOUNDS)
    ),
    Endpoint("/v1/batches/{id}", "batch", "One batch", schemas.Batch),
    Endpoint(
        "/v1/batches/{id}/rejections",
        "rejections",
        "Observations that failed, with reasons",
        schemas.Rejections,
        PAGED,
        paid=True,
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
    ),
    Endpoint(
        "/v1/statistics",
        "statistics",
        "Statistics of a device's metric, with a range proof for every batch",
        schemas.Statistics,
        ("metric", "device", "cell", "from", "to", *BOUNDS),
        paid=True,
    ),
    Endpoint(
        "/v1/series",
        "series",
        "Downsampled series of a device's metric",
        schemas.Series,
        ("metric", "device", "from", "to", "bucket", "limit", *BOUNDS),
        paid=True,
    ),
    Endpoint(
        "/v1/latest",
        "latest",
        "Newest value per metric",
        schemas.Latest,
        ("device", *BOUNDS),
        paid=True,
    ),
    Endpoint("/v1/rewards/{owner}", "reward", "Claimable rewards with proof", schemas.Reward),
    Endpoint("/v1/epochs", "epochs", "Reward roots", schemas.Epochs, PAGED),
    Endpoint(
        "/v1/channels",
        "channels",
        "Payment channels",
        schemas.PaymentChannels,
        ("payer", *PAGED),
    ),
    Endpoint(
        "/v1/channels/{id}",
        "channel",
        "A payment or state channel",
        schemas.PaymentChannel | schemas.StateChannel,
    ),
)

ENDPOINTS = tuple(replace(item, parameters=(*item.parameters, *FRESH)) for item in _ENDPOINTS)
