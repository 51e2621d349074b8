"""WeatherXM-shaped JSON, polled: an observation by itself, as `observation` (Pro API), or as
`current_weather` of a device. Metric units; `precipitation_accumulated` counts until it is reset.

Field names: type definitions of public clients (Observation, CurrentWeather).
"""

from corechain_relayer.bridge.errors import MissingTime
from corechain_relayer.bridge.formats.clocks import instant
from corechain_relayer.bridge.formats.rules import STATION_PRESSURE, apply, counter, rule
from corechain_relayer.bridge.formats.upload import Arrival, Message, Upload, object_in, text_in

_RULES = (
    rule("temperature", "air_temperature", "Cel"),
    rule("dew_point", "dew_point", "Cel"),
    rule("humidity", "relative_humidity", "%"),
    rule("wind_speed", "wind_speed", "m/s"),
    rule("wind_gust", "wind_gust", "m/s"),
    rule("wind_direction", "wind_direction", "deg"),
    rule("solar_irradiance", "solar_irradiance", "W/m2"),
    rule("pressure", STATION_PRESSURE, "hPa"),
    # `precipitation_rate` is an intensity (mm/h), no amount.
    counter("precipitation_accumulated", "mm"),
)


def identity(message: Message) -> str:
    return text_in(message.object.get("id"))


def read(arrival: Arrival) -> Upload:
    """Raises MalformedUpload, NothingMeasured, MissingTime, and what a wrong clock raises."""
    document = arrival.message.object
    for name in ("observation", "current_weather"):
        if name in document:
            document = object_in(document[name], name)
            break
    if document.get("timestamp") is None:
        raise MissingTime("timestamp")
    draft = arrival.draft(instant(document["timestamp"], arrival.profile.zone))
    apply(draft, _RULES, document)
    return draft.upload()
