"""The root of SensorThings, and where a request enters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from corechain_indexer.api.freshness import newest_block
from corechain_indexer.api.params import Params
from corechain_indexer.api.sensorthings import documents
from corechain_indexer.api.sensorthings.model import SETS
from corechain_indexer.api.sensorthings.paths import ROOT
from corechain_indexer.api.sensorthings.reader import Reader, answered
from corechain_indexer.api.trees import TreeCache
from corechain_indexer.store.archive import Archive
from corechain_indexer.store.page_groups import Pages

if TYPE_CHECKING:
    from starlette.requests import Request

    from corechain.service.database import Database

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
SPEC = "http://www.opengis.net/spec/iot_sensing/1.1/req/"
CONFORMANCE = (
    *(
        f"datamodel/{name}/{what}"
        for name in (
            *("thing", "location", "historical-location", "datastream", "sensor"),
            *("observed-property", "observation", "feature-of-interest"),
        )
        for what in ("properties", "relations")
    ),
    "datamodel/entity-control-information/common-control-information",
    "resource-path/resource-path-to-entities",
    *(
        f"request-data/{name}"
        for name in ("order", "expand", "select", "status-code", "top", "skip", "pagination")
    ),
    "data-array/data-array",
)
"""Without `filter`, `orderby` and `count`: of those there is a part."""


@dataclass(frozen=True, slots=True)
class SensorThings:
    """Answers from the stores of the other paths."""

    pool: "Database"
    pages: Pages
    trees: TreeCache
    archive: Archive

    def root(self, params: Params) -> documents.SensorThingsRoot:
        params.only()
        root = root_of(params.request)
        return documents.SensorThingsRoot(
            [documents.SensorThingsSet(name, f"{root}/{name}") for name in SETS],
            documents.SensorThingsSettings([SPEC + name for name in CONFORMANCE]),
        )

    async def resource(self, params: Params) -> msgspec.Raw | Mapping[str, object]:
        """Raises NotFound, InvalidQuery, NotInSubset, NotMirrored, StoreUnavailable."""
        bound = await newest_block(self.pool, params)
        reader = Reader(self.pool, self.trees, self.pages, self.archive, bound)
        text = params.request.path_params["resource"]
        found: msgspec.Raw | Mapping[str, object]
        found = await answered(params, reader, root_of(params.request), text)
        return found


def root_of(request: "Request") -> str:
    """Absolute, as clients need their links, by the name that this one called us by; without the
    host where that is no name."""
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        return ROOT
    # Not of a URL of the request: urllib refuses hosts that look right, as [::::].
    return f"{request.scope['scheme']}://{host}{ROOT}"
