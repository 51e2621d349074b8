/** What users give, checked where it comes in: JavaScript hands on anything, and a comparison with
 * `undefined` is never true, so a check that was given nothing would find nothing wrong. */

import { InvalidValue, ValueOutOfRange } from "./errors.js";

const U256 = 2n ** 256n;

/** A whole number of a range. Throws InvalidValue, ValueOutOfRange. */
export function whole(parameter: string, value: number, low: number, high: number): number {
  if (typeof value !== "number" || Number.isNaN(value)) {
    throw new InvalidValue(parameter, value, "takes a whole number");
  }
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new ValueOutOfRange(parameter, value, `from ${low} to ${high}`);
  }
  return value;
}

/** A whole number without rounding: a bigint, or a safe integer. Throws InvalidValue. */
export function integer(parameter: string, value: number | bigint): bigint {
  if (typeof value === "bigint") return value;
  if (!Number.isSafeInteger(value)) throw new InvalidValue(parameter, value, "takes a whole number");
  return BigInt(value);
}

/** An amount in base units, 256 bits. Throws InvalidValue, ValueOutOfRange. */
export function amount(parameter: string, value: bigint): bigint {
  if (typeof value !== "bigint") throw new InvalidValue(parameter, value, "takes a bigint");
  if (value < 0n || value >= U256) throw new ValueOutOfRange(parameter, value);
  return value;
}

/** An object with fields. Throws InvalidValue. */
export function record<T>(parameter: string, value: T): T {
  if (typeof value !== "object" || value === null) {
    throw new InvalidValue(parameter, value, "takes an object");
  }
  return value;
}

/** A list. Throws InvalidValue. */
export function list<T>(parameter: string, value: readonly T[]): readonly T[] {
  if (!Array.isArray(value)) throw new InvalidValue(parameter, value, "takes a list");
  return Array.from(value as readonly T[]); // what was left out is undefined then, and is looked at
}
