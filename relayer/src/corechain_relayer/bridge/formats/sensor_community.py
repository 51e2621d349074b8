"""sensor.community (airRohr) "send data to own API": JSON, values as text, pascal, no time.

Fields: github.com/opendata-stuttgart/sensors-software and /meta, wiki "APIs". P1 is PM10 and P2 is
PM2.5, also of an SPS30 (whose P0 and P4 are PM1 and PM4).
"""

from corechain_relayer.bridge.formats.rules import STATION_PRESSURE, Rule, put, rule
from corechain_relayer.bridge.formats.upload import (
    Arrival,
    Message,
    Upload,
    list_in,
    object_in,
    text_in,
)

# Best first: the sensors of a node measure the same air, and the first value of a metric counts.
_PM_SENSORS = ("SDS_", "SPS30_", "PMS_", "HPM_", "NPM_", "IPS_", "")
_AIR_SENSORS = ("BME280_", "BMP280_", "BMP_", "SHT3X_", "HTU21D_", "DHT_", "DS18B20_", "")


def _rules() -> dict[str, Rule]:
    found = []
    for sensor in _PM_SENSORS:
        found.append(rule(f"{sensor}P1", "pm10", "ug/m3"))
        found.append(rule(f"{sensor}P2", "pm2_5", "ug/m3"))
    for sensor in _AIR_SENSORS:
        found.append(rule(f"{sensor}temperature", "air_temperature", "Cel"))
        found.append(rule(f"{sensor}humidity", "relative_humidity", "%"))
        found.append(rule(f"{sensor}pressure", STATION_PRESSURE, "Pa"))
    found.append(rule("conc_co2_ppm", "co2", "[ppm]"))
    return {item.name: item for item in found}


RULES = _rules()


def identity(message: Message) -> str:
    """The chip: in the header as "esp8266-123", in the body as the number alone."""
    chip = text_in(message.object.get("esp8266id")) or text_in(message.headers.get("x-sensor"))
    return chip.lower().removeprefix("esp8266-")


def read(arrival: Arrival) -> Upload:
    """At the time of receipt. Raises MalformedUpload, NothingMeasured."""
    items = list_in(arrival.message.object.get("sensordatavalues"), "sensordatavalues")
    fields: dict[str, object] = {}
    for item in items:
        entry = object_in(item, "an entry of sensordatavalues")
        fields.setdefault(text_in(entry.get("value_type")), entry.get("value"))
    draft = arrival.draft(arrival.clock.now)
    for name, item in RULES.items():
        if name in fields:
            put(draft, item, name, fields[name])
    return draft.upload()
