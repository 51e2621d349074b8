"""ChirpStack v4: `up` events of the HTTP and MQTT integrations, JSON encoding.

Shape: chirpstack-api 4.18, proto/chirpstack/integration/integration.proto (UplinkEvent); protobuf's
JSON leaves zeros of the envelope out. `object` is what the device profile's codec made.
"""

from urllib.parse import parse_qs

from corechain_relayer.bridge.formats.decoded import believable, read_decoded
from corechain_relayer.bridge.formats.ttn import NO_UPLINK
from corechain_relayer.bridge.formats.upload import Arrival, Message, Upload, object_in, text_in


def identity(message: Message) -> str:
    info = object_in(message.object.get("deviceInfo"), "deviceInfo")
    return text_in(info.get("devEui")).lower()


def read(arrival: Arrival) -> Upload:
    """Raises MalformedUpload, NothingMeasured, and what a wrong clock raises."""
    document = arrival.message.object
    # The URL says which event it is; over MQTT the topic does, and only uplinks have a frame.
    event = parse_qs(arrival.message.query[:256]).get("event", ["up"])[0]
    if event != "up" or ("object" not in document and "data" not in document):
        return NO_UPLINK
    at = believable(arrival, document.get("time"), *_server_times(document.get("rxInfo")))
    return read_decoded(arrival, at, document.get("object"))


def _server_times(gateways: object) -> list[object]:
    """`nsTime`: when the network server got the frame, whatever the gateway's clock said."""
    if not isinstance(gateways, list):
        return []
    return [item.get("nsTime") for item in gateways[:16] if isinstance(item, dict)]
