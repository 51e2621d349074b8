"""Helium Console's HTTP integration: JSON of an uplink, with a decoder's output under `decoded`.

Shape: docs.helium.com/console/integrations/json-schema. `reported_at` was seconds, then
milliseconds; the page's own sample has fourteen digits, which is neither.
"""

from corechain_relayer.bridge.formats.clocks import instant
from corechain_relayer.bridge.formats.decoded import read_decoded
from corechain_relayer.bridge.formats.upload import Arrival, Message, Upload, text_in


def identity(message: Message) -> str:
    return text_in(message.object.get("dev_eui")).lower()


def read(arrival: Arrival) -> Upload:
    """Raises MalformedUpload, NothingMeasured, and what a wrong clock raises."""
    document = arrival.message.object
    raw = document.get("reported_at")
    at = arrival.clock.now if raw is None else instant(raw)
    decoded = document.get("decoded")
    payload = decoded.get("payload") if isinstance(decoded, dict) else None
    return read_decoded(arrival, at, *_parts(payload))


def _parts(payload: object) -> list[object]:
    """CayenneLPP comes as a list of named values, a decoder of one's own as an object."""
    if not isinstance(payload, list):
        return [payload]
    named = [item for item in payload[:64] if isinstance(item, dict)]
    return [{_snake(text_in(item.get("name"))): item.get("value")} for item in named]


def _snake(name: str) -> str:
    return name.lower().replace(" ", "_")
