"""What payload decoders of LoRaWAN devices name their values.

Dotted names are The Things Stack's normalised payload; the others what CayenneLPP (with a channel:
`temperature_1`) and the decoders of common devices write. What else there is needs a mapping file.
"""

import re
from collections.abc import Mapping

from corechain.protocol.errors import ProtocolError
from corechain_relayer.bridge.formats import mapping as mapped
from corechain_relayer.bridge.formats.clocks import instant
from corechain_relayer.bridge.formats.rules import STATION_PRESSURE, Rule, counter, put, rule
from corechain_relayer.bridge.formats.upload import Arrival, Draft, Upload

_CHANNEL = re.compile(r"_\d{1,3}$", re.ASCII)
MAX_VALUES, MAX_DEPTH = 256, 4


def _named(metric: str, unit: str, *names: str) -> dict[str, Rule]:
    return {name: rule(name, metric, unit) for name in names}


# Barometers of such devices give the pressure where they are.
_NORMALISED = {
    **_named("air_temperature", "Cel", "air.temperature"),
    **_named("relative_humidity", "%", "air.relativehumidity"),
    **_named(STATION_PRESSURE, "hPa", "air.pressure"),
    **_named("co2", "[ppm]", "air.co2"),
    **_named("wind_speed", "m/s", "wind.speed"),
    **_named("wind_direction", "deg", "wind.direction"),
    "rain.cumulative": counter("rain.cumulative", "mm"),
}
_USUAL = {
    **_named("air_temperature", "Cel", "temperature", "air_temperature", "temp", "tempc_sht"),
    **_named("relative_humidity", "%", "humidity", "relative_humidity", "hum_sht", "air_humidity"),
    **_named("dew_point", "Cel", "dew_point", "dewpoint"),
    **_named(STATION_PRESSURE, "hPa", "pressure", "barometric_pressure", "barometer"),
    **_named("co2", "[ppm]", "co2", "co2_ppm"),
    **_named("pm2_5", "ug/m3", "pm2_5", "pm25"),
    **_named("pm10", "ug/m3", "pm10"),
    **_named("wind_speed", "m/s", "wind_speed", "windspeed"),
    **_named("wind_gust", "m/s", "wind_gust"),
    **_named("wind_direction", "deg", "wind_direction", "winddirection"),
    **_named("solar_irradiance", "W/m2", "solar_radiation", "solar_irradiance"),
    "rain_total": counter("rain_total", "mm"),
    "cumulative_rainfall": counter("cumulative_rainfall", "mm"),
}


def read_decoded(arrival: Arrival, at: int, *payloads: object) -> Upload:
    """The decoded payloads of one uplink, the best first. Raises NothingMeasured."""
    draft = arrival.draft(at)
    own = arrival.profile.mapping
    for payload in payloads:
        if isinstance(own, mapped.Mapping):
            own.apply(draft, payload)
        elif isinstance(payload, dict):
            _apply_names(draft, payload)
    return draft.upload()


def _apply_names(draft: Draft, payload: Mapping[str, object]) -> None:
    for name, value in _flat(payload).items():
        lower = name.lower()
        found = _NORMALISED.get(lower) or _USUAL.get(lower) or _USUAL.get(_CHANNEL.sub("", lower))
        if found is not None:
            put(draft, found, name, value)


def _flat(payload: Mapping[str, object]) -> dict[str, object]:
    """Nested objects as dotted names, up to a depth and a number."""
    found: dict[str, object] = {}
    open_: list[tuple[str, Mapping[str, object], int]] = [("", payload, 1)]
    while open_:
        prefix, level, depth = open_.pop()
        for key, value in level.items():
            name = (prefix + key)[:128]
            if isinstance(value, dict) and depth < MAX_DEPTH:
                open_.append((name + ".", value, depth + 1))
            elif len(found) < MAX_VALUES:
                found[name] = value
    return found


def believable(arrival: Arrival, *candidates: object) -> int:
    """The first time that a clock could have had. Gateways without GPS say year 1 or 1970; a server
    passes an uplink on in the second it came, so the time of receipt is right when none is."""
    for raw in candidates:
        if raw is None:
            continue
        try:
            at = instant(raw)
        except ProtocolError:
            continue
        if at >= arrival.clock.earliest:
            return at
    return arrival.clock.now
