/** Bytes and hex, without Buffer: browsers have none. All integers are big-endian. */

import { InvalidValue, ValueOutOfRange } from "./errors.js";
import { integer } from "./values.js";

/** Hex digits behind 0x. */
export type Hex = `0x${string}`;
/** Bytes, or hex digits with or without 0x. */
export type BytesLike = Uint8Array | string;

const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Also of another realm (a frame, Jest's jsdom), whose Uint8Array is not ours: what `isView` knows
 * nobody can imitate. */
export function isBytes(value: unknown): value is Uint8Array {
  return ArrayBuffer.isView(value) && (value as unknown as Uint8Array)[Symbol.toStringTag] === "Uint8Array";
}

/** Bytes, and nothing that only looks like them. Throws InvalidValue. */
export function bytesOf(parameter: string, value: Uint8Array): Uint8Array {
  if (!isBytes(value)) throw new InvalidValue(parameter, value, "takes a Uint8Array");
  return value;
}

export function hex(bytes: Uint8Array): Hex {
  let text = "0x";
  for (const byte of bytesOf("bytes", bytes)) text += DIGITS[byte];
  return text as Hex;
}

/** Bytes of hex digits whose pattern was checked. */
export function unhex(text: string): Uint8Array {
  const start = text.startsWith("0x") ? 2 : 0;
  const bytes = new Uint8Array((text.length - start) >> 1);
  for (let i = 0; i < bytes.length; i++) {
    const at = start + 2 * i;
    bytes[i] = (digitOf(text.charCodeAt(at)) << 4) | digitOf(text.charCodeAt(at + 1));
  }
  return bytes;
}

/** Of the code of 0-9, a-f or A-F. */
function digitOf(code: number): number {
  return code <= 57 ? code - 48 : (code | 32) - 87;
}

/** Bytes of a size, from what a user has. Throws InvalidValue. */
export function octets(parameter: string, value: BytesLike, size: number): Uint8Array {
  const right = `takes ${size} bytes, or as many in hex`;
  if (isBytes(value)) {
    if (value.length !== size) throw new InvalidValue(parameter, hex(value), right);
    return value;
  }
  if (typeof value !== "string" || !/^(0x)?([0-9a-fA-F]{2})*$/.test(value)) {
    throw new InvalidValue(parameter, value, right);
  }
  const bytes = unhex(value);
  if (bytes.length !== size) throw new InvalidValue(parameter, value, right);
  return bytes;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + bytesOf("bytes", part).length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Below zero, zero or above, as bytes are ordered. */
export function compare(one: Uint8Array, two: Uint8Array): number {
  const shared = Math.min(one.length, two.length);
  for (let i = 0; i < shared; i++) {
    const difference = one[i]! - two[i]!;
    if (difference) return difference;
  }
  return one.length - two.length;
}

export function equal(one: Uint8Array, two: Uint8Array): boolean {
  // Of what is no bytes the differences are NaN, which is as good as none to `compare`.
  const areBytes = isBytes(one) && isBytes(two);
  return areBytes && one.length === two.length && compare(one, two) === 0;
}

export function isZero(bytes: Uint8Array): boolean {
  return bytesOf("bytes", bytes).every((byte) => byte === 0);
}

/** An unsigned number in so many bytes. Throws InvalidValue, ValueOutOfRange. */
export function uint(value: number | bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let rest = integer("number", value);
  if (BigInt.asUintN(8 * size, rest) !== rest) throw new ValueOutOfRange("number", value);
  for (let i = size - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/** A signed number, two's complement. Throws InvalidValue, ValueOutOfRange. */
export function int(value: number | bigint, size: number): Uint8Array {
  const found = integer("number", value);
  if (BigInt.asIntN(8 * size, found) !== found) throw new ValueOutOfRange("number", value);
  return uint(BigInt.asUintN(8 * size, found), size);
}

export function readUint(bytes: Uint8Array, start = 0, end = bytes.length): bigint {
  let value = 0n;
  bytesOf("bytes", bytes);
  for (let i = start; i < end; i++) value = (value << 8n) | BigInt(bytes[i]!);
  return value;
}

export function readInt(bytes: Uint8Array, start = 0, end = bytes.length): bigint {
  return BigInt.asIntN(8 * (end - start), readUint(bytes, start, end));
}

/** Packed items of one size each. */
export function cut(packed: Uint8Array, size: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < packed.length; at += size) parts.push(packed.subarray(at, at + size));
  return parts;
}
