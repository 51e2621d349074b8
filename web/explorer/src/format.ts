/** Numbers, times and names as people read them. Units are UCUM in the protocol and symbols here. */

import { METRICS } from "@corechain/verify";

const SYMBOLS: Record<string, string> = {
  Cel: "°C",
  deg: "°",
  "ug/m3": "µg/m³",
  "[ppm]": "ppm",
  "W/m2": "W/m²",
};
const NAMES: Record<string, string> = {
  pm2_5: "PM2.5",
  pm10: "PM10",
  co2: "Carbon dioxide",
};

export interface MetricShown {
  code: number;
  name: string;
  label: string;
  unit: string;
  scale: number;
}

function shown(code: number, name: string, unit: string, scale: number): MetricShown {
  const words = name.replace(/_/g, " ");
  const label = NAMES[name] ?? words.charAt(0).toUpperCase() + words.slice(1);
  return { code, name, label, unit: SYMBOLS[unit] ?? unit, scale };
}

const KNOWN = new Map(
  METRICS.map((metric) => [metric.code, shown(metric.code, metric.name, metric.unit, metric.scale)]),
);

export const metrics = [...KNOWN.values()];

export function metric(code: number): MetricShown {
  return KNOWN.get(code) ?? shown(code, `metric ${code}`, "", 1);
}

const digitsOf = (scale: number) => Math.min(2, Math.round(Math.log10(scale)));

/** A scaled integer in the metric's unit, without it. */
export function quantity(value: number, of: MetricShown): string {
  const text = (value / of.scale).toFixed(digitsOf(of.scale));
  return text.replace("-", "\u2212");
}

export const number = (value: number): string => value.toLocaleString("en-GB");

const TIME = new Intl.DateTimeFormat("en-GB", {
  timeZone: "UTC", year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
});
const DAY = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", year: "numeric", month: "short", day: "numeric" });

export const time = (seconds: number): string => `${TIME.format(seconds * 1000).replace(",", "")} UTC`;
export const day = (seconds: number): string => DAY.format(seconds * 1000);

/** The first and last digits of a long hexadecimal word. */
export const short = (hex: string): string => (hex.length > 14 ? `${hex.slice(0, 8)}…${hex.slice(-4)}` : hex);

/** Tokens of 18 decimals. */
export function tokens(amount: string | bigint): string {
  const value = BigInt(amount);
  const [whole, part] = [value / 10n ** 18n, value % 10n ** 18n];
  const digits = part.toString().padStart(18, "0").replace(/0+$/, "").slice(0, 6);
  return whole.toLocaleString("en-GB") + (digits ? `.${digits}` : "");
}

export function span(seconds: number): string {
  for (const [size, name] of [[86_400, "day"], [3_600, "hour"], [60, "minute"]] as const) {
    if (seconds >= size) {
      const count = Math.round(seconds / size);
      return `${count} ${name}${count === 1 ? "" : "s"}`;
    }
  }
  return `${seconds} seconds`;
}

/** QARTOD flags (IOOS), as the protocol stores them. */
export const FLAG_NAMES: Record<number, string> = { 1: "good", 2: "not evaluated", 3: "suspect", 4: "failed", 9: "missing" };
export const flagName = (flag: number): string => FLAG_NAMES[flag] ?? `flag ${flag}`;

const REASONS: Record<string, string> = {
  range: "outside the range that a sensor can measure",
  step: "jumped further in an hour than the air can",
  persistence: "stood still for too long",
  consistency: "contradicts another value of the same station",
};
export const reason = (name: string): string => REASONS[name] ?? name.replace(/_/g, " ");
