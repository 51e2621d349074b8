"""What SensorThings answers, as types: the OpenAPI document is made from them."""

from typing import Any

import msgspec


class SensorThingsSet(msgspec.Struct, frozen=True):
    name: str
    url: str


class SensorThingsSettings(msgspec.Struct, frozen=True):
    conformance: list[str]


class SensorThingsRoot(msgspec.Struct, frozen=True, rename={"settings": "serverSettings"}):
    """OGC 18-088, section 9.2.1."""

    value: list[SensorThingsSet]
    settings: SensorThingsSettings


SensorThingsDocument = dict[str, Any]
"""An entity, a page of them, or a property: OGC 18-088 says what is in it."""
