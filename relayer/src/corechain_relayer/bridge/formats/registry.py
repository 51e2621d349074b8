"""The formats by name: what reads them, and what their stations take for a yes."""

from collections.abc import Callable
from dataclasses import dataclass

from corechain_relayer.bridge.formats import (
    archive,
    chirpstack,
    cwop,
    ecowitt,
    helium,
    mapping,
    openaq,
    sensor_community,
    sensorthings,
    ttn,
    weatherxm,
    wunderground,
)
from corechain_relayer.bridge.formats.upload import Arrival, Message, Upload


@dataclass(frozen=True, slots=True)
class Format:
    """`identity`: which station a message is of, where it says so. `answer`: the body of a 200."""

    name: str
    read: Callable[[Arrival], Upload]
    identity: Callable[[Message], str]
    answer: str = "success\n"


FORMATS = {
    item.name: item
    for item in (
        Format("ecowitt", ecowitt.read, ecowitt.identity),
        # Clients of Weather Underground look for this word.
        Format("wunderground", wunderground.read, wunderground.identity),
        Format("sensor-community", sensor_community.read, sensor_community.identity),
        Format("ttn", ttn.read, ttn.identity),
        Format("chirpstack", chirpstack.read, chirpstack.identity),
        Format("helium", helium.read, helium.identity),
        Format("cwop", cwop.read, cwop.identity),
        Format("sensorthings", sensorthings.read, sensorthings.identity),
        Format("json", mapping.read, mapping.identity),
        Format("archive", archive.read, archive.identity),
        Format("openaq", openaq.read, openaq.identity),
        Format("weatherxm", weatherxm.read, weatherxm.identity),
    )
}
OWN_PATHS = {"wunderground": "/weatherstation/updateweatherstation.php"}
"""Paths that clients of a format have built in; their token is the station key."""
POLLED = frozenset(("openaq", "weatherxm", "json"))
"""What can be fetched from a URL."""
