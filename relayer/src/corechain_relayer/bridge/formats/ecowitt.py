"""Ecowitt's "customised upload", protocol Ecowitt: a form POST, imperial whatever the app shows.

Field names from public captures (pa3hcm.nl/?p=2095; mplogas/ecowitt-controller, docs/api.md).
`baromrelin` is reduced to sea level by the console, `baromabsin` is the barometer's own.
Indoor sensors (tempinf, humidityin, co2 and pm25 of the WH45) are no climate: not in the table.
"""

from corechain_relayer.bridge.formats.clocks import instant
from corechain_relayer.bridge.formats.rules import STATION_PRESSURE, apply, counter, rule
from corechain_relayer.bridge.formats.upload import Arrival, Message, Upload

_RULES = (
    rule("tempf", "air_temperature", "[degF]"),
    rule("humidity", "relative_humidity", "%"),
    rule("dewptf", "dew_point", "[degF]"),
    rule("baromrelin", "pressure", "[in_i'Hg]"),
    rule("baromabsin", STATION_PRESSURE, "[in_i'Hg]"),
    rule("winddir", "wind_direction", "deg"),
    rule("windspeedmph", "wind_speed", "[mi_i]/h"),
    rule("windgustmph", "wind_gust", "[mi_i]/h"),
    rule("solarradiation", "solar_irradiance", "W/m2"),
    rule("pm25_ch1", "pm2_5", "ug/m3"),
    rule("pm10_ch1", "pm10", "ug/m3"),
    # The rarer it falls back, the better a counter is: `rainratein` and `eventrainin` are none.
    counter("totalrainin", "[in_i]"),
    counter("yearlyrainin", "[in_i]"),
    counter("monthlyrainin", "[in_i]"),
    counter("weeklyrainin", "[in_i]"),
    counter("dailyrainin", "[in_i]"),
    counter("yrain_piezo", "[in_i]"),
    counter("mrain_piezo", "[in_i]"),
    counter("wrain_piezo", "[in_i]"),
    counter("drain_piezo", "[in_i]"),
)


def identity(message: Message) -> str:
    """None: the PASSKEY is a secret, and the path has a better one."""
    return ""


def time_of(fields: dict[str, str], arrival: Arrival) -> int:
    """`dateutc`, or the time of receipt where the station says "now" or has no clock."""
    stamp = fields.get("dateutc", "now")
    return arrival.clock.now if stamp.strip().lower() == "now" else instant(stamp)


def read(arrival: Arrival) -> Upload:
    """Raises MalformedUpload, NothingMeasured, ClockNotSet, FutureTimestamp, TimestampTooOld."""
    fields = arrival.message.form
    draft = arrival.draft(time_of(fields, arrival))
    apply(draft, _RULES, fields)
    return draft.upload()
