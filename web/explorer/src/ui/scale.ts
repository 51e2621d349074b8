/** From a value to one of seven colours, which style.css has for light and dark. */

export const SHADES = 7;

export interface Scale {
  low: number;
  high: number;
}

export function scaleOf(values: readonly number[]): Scale | null {
  if (!values.length) return null;
  // Not Math.min(...values): a call takes some ten thousand arguments, not all.
  const scale = { low: values[0]!, high: values[0]! };
  for (const value of values) {
    if (value < scale.low) scale.low = value;
    if (value > scale.high) scale.high = value;
  }
  return scale;
}

export function shade(value: number, { low, high }: Scale): number {
  if (high <= low) return Math.floor(SHADES / 2);
  return Math.min(SHADES - 1, Math.floor(((value - low) / (high - low)) * SHADES));
}
