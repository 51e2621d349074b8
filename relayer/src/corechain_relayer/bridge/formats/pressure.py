"""Pressures of a barometer, an altimeter and the sea level, hPa. Floats: the bridge signs the
result, nobody recomputes it."""

import math

_GRAVITY_BY_GAS_CONSTANT = 9.80665 / 287.05
"""K/m: g over the gas constant of dry air (WMO-No. 8, I.3)."""
_LAPSE_K_PER_M = 0.0065
_KELVIN = 273.15
# Altimeter setting (NWS, Smithsonian tables): the pressure at sea level of a standard atmosphere.
_EXPONENT = 0.190284
_PER_M = 1013.25**_EXPONENT * _LAPSE_K_PER_M / 288.15


def at_sea_level(station_hpa: float, elevation_m: float, celsius: float) -> float:
    """Mean sea level pressure. The air column below the station is taken as dry and as half a
    standard lapse warmer than the station."""
    column_k = celsius + _KELVIN + _LAPSE_K_PER_M * elevation_m / 2
    return station_hpa * math.exp(_GRAVITY_BY_GAS_CONSTANT * elevation_m / column_k)


def from_altimeter(altimeter_hpa: float, elevation_m: float) -> float:
    """Station pressure of an altimeter setting."""
    root = altimeter_hpa**_EXPONENT - _PER_M * elevation_m
    return float(max(root, 0.0) ** (1 / _EXPONENT))
