"""Metrics: codes, units (UCUM), scales and limits. The one place where they are written.

Sources: CF standard names (table v93), WMO/Zahumensky limits for weather stations, MADIS QC.
All limits are in scaled integers, so a rule never meets a float.
"""

from dataclasses import dataclass

from corechain.protocol.errors import UnknownMetric, ValueOutOfRange
from corechain.protocol.hashing import keccak
from corechain.protocol.values import integer, number

I32_MIN, I32_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity. `scale` wire units make one `unit`: 3.12 Cel at scale 100 is 312.

    `step_fail` and `step_suspect` bound the change per hour (None: not checked);
    `still_hours` is how long a value may stand still before it is suspect (0: may for ever).
    """

    code: int
    name: str
    standard_name: str
    unit: str
    scale: int
    low: int
    high: int
    step_suspect: int | None = None
    step_fail: int | None = None
    still_hours: int = 0

    def to_wire(self, value: float) -> int:
        """Nearest scaled integer of a value in this metric's unit. Raises ValueOutOfRange for NaN,
        infinity, overflow, InvalidValue for what is no number."""
        if type(value) is not float and type(value) is not int:
            value = number(self.name, value)
        scaled = value * self.scale
        if not I32_MIN <= scaled <= I32_MAX:  # NaN compares false too
            raise ValueOutOfRange(self.name, value)
        return round(scaled)

    def from_wire(self, value: int) -> float:
        return value / self.scale


_PM25 = "mass_concentration_of_pm2p5_ambient_aerosol_particles_in_air"
_PM10 = "mass_concentration_of_pm10_ambient_aerosol_particles_in_air"
_CO2 = "mole_fraction_of_carbon_dioxide_in_air"
_SOLAR = "surface_downwelling_shortwave_flux_in_air"
_SEA_LEVEL = "air_pressure_at_mean_sea_level"

METRICS: tuple[Metric, ...] = (
    Metric(1, "air_temperature", "air_temperature", "Cel", 100, -8000, 6000, 400, 1940, 12),
    Metric(2, "dew_point", "dew_point_temperature", "Cel", 100, -8000, 3500, 400, 1940, 12),
    Metric(3, "relative_humidity", "relative_humidity", "%", 100, 0, 10400, 5000, None, 0),
    Metric(4, "pressure", _SEA_LEVEL, "hPa", 100, 50000, 110000, 300, 1000, 12),
    Metric(5, "wind_speed", "wind_speed", "m/s", 100, 0, 7500, 1500, None, 0),
    Metric(6, "wind_gust", "wind_speed_of_gust", "m/s", 100, 0, 12800),
    Metric(7, "wind_direction", "wind_from_direction", "deg", 1, 0, 360),
    Metric(8, "precipitation", "thickness_of_rainfall_amount", "mm", 100, 0, 240000),
    Metric(9, "visibility", "visibility_in_air", "km", 100, 0, 10000),
    Metric(10, "pm2_5", _PM25, "ug/m3", 10, 0, 10000),
    Metric(11, "pm10", _PM10, "ug/m3", 10, 0, 10000),
    Metric(12, "co2", _CO2, "[ppm]", 1, 300, 5000),
    Metric(13, "solar_irradiance", _SOLAR, "W/m2", 10, -50, 16000),
)

BY_CODE = {metric.code: metric for metric in METRICS}
BY_NAME = {metric.name: metric for metric in METRICS}


MetricLike = int | str | Metric
"""A metric, its name, or its code."""


def metric(key: MetricLike) -> Metric:
    """A metric by its name, its code, or itself. Raises UnknownMetric, which names a close one."""
    if isinstance(key, Metric):
        return key
    found = BY_NAME.get(key) if isinstance(key, str) else None
    if found is None:
        found = BY_CODE.get(integer(key) or 0)
    if found is None:
        raise UnknownMetric(key, _hint(key))
    return found


def _hint(key: object) -> str:
    from difflib import get_close_matches  # here: few programs ask for what is no metric

    close = get_close_matches(str(key)[:64], BY_NAME, 1) if isinstance(key, str) else []
    return f"did you mean {close[0]!r}?" if close else f"it has {', '.join(BY_NAME)}"


def canonical_table() -> bytes:
    """The limits as text, one metric a line: what the hash of the rule set covers."""
    lines = (
        f"{m.code},{m.name},{m.unit},{m.scale},{m.low},{m.high},"
        f"{m.step_suspect},{m.step_fail},{m.still_hours}"
        for m in METRICS
    )
    return "\n".join(lines).encode()


TABLE_HASH = keccak(canonical_table())
