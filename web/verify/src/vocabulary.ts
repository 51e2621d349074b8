/** Metrics by code: names, units (UCUM), scales. The tests hold this table against Python's. */

import { UnknownMetric } from "./errors.js";

/** `scale` wire units make one `unit`: 3.12 Cel at scale 100 is 312. */
export interface Metric {
  readonly code: number;
  readonly name: string;
  readonly unit: string;
  readonly scale: number;
}

export type MetricLike = number | string | Metric;

export const METRICS: readonly Metric[] = [
  { code: 1, name: "air_temperature", unit: "Cel", scale: 100 },
  { code: 2, name: "dew_point", unit: "Cel", scale: 100 },
  { code: 3, name: "relative_humidity", unit: "%", scale: 100 },
  { code: 4, name: "pressure", unit: "hPa", scale: 100 },
  { code: 5, name: "wind_speed", unit: "m/s", scale: 100 },
  { code: 6, name: "wind_gust", unit: "m/s", scale: 100 },
  { code: 7, name: "wind_direction", unit: "deg", scale: 1 },
  { code: 8, name: "precipitation", unit: "mm", scale: 100 },
  { code: 9, name: "visibility", unit: "km", scale: 100 },
  { code: 10, name: "pm2_5", unit: "ug/m3", scale: 10 },
  { code: 11, name: "pm10", unit: "ug/m3", scale: 10 },
  { code: 12, name: "co2", unit: "[ppm]", scale: 1 },
  { code: 13, name: "solar_irradiance", unit: "W/m2", scale: 10 },
];

/** A metric by its name, its code, or itself. Throws UnknownMetric. */
export function metricOf(key: MetricLike): Metric {
  const wanted = typeof key === "object" && key ? key.code : key;
  const found = METRICS.find(({ code, name }) => code === wanted || name === wanted);
  if (!found) throw new UnknownMetric(wanted);
  return found;
}
