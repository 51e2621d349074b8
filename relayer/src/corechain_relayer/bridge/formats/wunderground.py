"""Weather Underground's upload protocol: GET (or POST) with ID, PASSWORD and imperial fields.

Fields: wiki.wunderground.com/index.php/PWS_-_Upload_Protocol. `baromin` is what consoles send as
relative pressure, reduced to sea level. `rainin` is a rolling hour: no counter, so not taken.
"""

from corechain_relayer.bridge.formats.ecowitt import time_of
from corechain_relayer.bridge.formats.rules import STATION_PRESSURE, apply, counter, rule
from corechain_relayer.bridge.formats.upload import Arrival, Message, Upload, text_in

_RULES = (
    rule("tempf", "air_temperature", "[degF]"),
    rule("humidity", "relative_humidity", "%"),
    rule("dewptf", "dew_point", "[degF]"),
    rule("baromin", "pressure", "[in_i'Hg]"),
    rule("absbaromin", STATION_PRESSURE, "[in_i'Hg]"),
    rule("winddir", "wind_direction", "deg"),
    rule("windspeedmph", "wind_speed", "[mi_i]/h"),
    rule("windgustmph", "wind_gust", "[mi_i]/h"),
    rule("solarradiation", "solar_irradiance", "W/m2"),
    # "nm": nautical miles, as METAR has them.
    rule("visibility", "visibility", "[nmi_i]"),
    rule("AqPM2.5", "pm2_5", "ug/m3"),
    rule("AqPM10", "pm10", "ug/m3"),
    counter("totalrainin", "[in_i]"),
    counter("yearlyrainin", "[in_i]"),
    counter("monthlyrainin", "[in_i]"),
    counter("weeklyrainin", "[in_i]"),
    counter("dailyrainin", "[in_i]"),
)


def identity(message: Message) -> str:
    return text_in(message.form.get("ID"))


def read(arrival: Arrival) -> Upload:
    """Raises MalformedUpload, NothingMeasured, ClockNotSet, FutureTimestamp, TimestampTooOld."""
    fields = arrival.message.form
    draft = arrival.draft(time_of(fields, arrival))
    apply(draft, _RULES, fields)
    return draft.upload()
