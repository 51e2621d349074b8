"""The Things Stack v3: webhook and MQTT uplinks.

Shape: thethingsindustries.com/docs/integrations/data-formats. Empty and zero fields of the envelope
are left out of the message; a decoder's own zeros are not, except where it leaves them out itself:
that is what `when_missing` of a mapping is for.
"""

from corechain_relayer.bridge.formats.decoded import believable, read_decoded
from corechain_relayer.bridge.formats.upload import Arrival, Message, Upload, object_in, text_in

NO_UPLINK = Upload((), (), {"uplink_message": "NotAnUplink"})
"""Joins, acknowledgements, location updates: nothing is wrong with them, and nothing in them."""


def identity(message: Message) -> str:
    ids = object_in(message.object.get("end_device_ids"), "end_device_ids")
    return text_in(ids.get("dev_eui")).lower() or text_in(ids.get("device_id"))


def device_id(message: Message) -> str:
    """As the topics of its broker name it; never empty there."""
    ids = object_in(message.object.get("end_device_ids"), "end_device_ids")
    return text_in(ids.get("device_id"))


def read(arrival: Arrival) -> Upload:
    """Raises MalformedUpload, NothingMeasured, and what a wrong clock raises."""
    document = arrival.message.object
    if "uplink_message" not in document:
        return NO_UPLINK
    uplink = object_in(document["uplink_message"], "uplink_message")
    at = believable(arrival, uplink.get("received_at"), document.get("received_at"))
    return read_decoded(arrival, at, *_normalised(uplink), uplink.get("decoded_payload"))


def _normalised(uplink: dict[str, object]) -> list[object]:
    found = uplink.get("normalized_payload")
    return found[:16] if isinstance(found, list) else []
