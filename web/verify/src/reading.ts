/** Readings (the leaves of a batch) and observations, packed as the protocol has them. */

import { bytesOf, concat, hex, int, octets, readInt, readUint, uint, type Hex } from "./bytes.js";
import { MalformedReport } from "./errors.js";
import { record } from "./values.js";

export const READING_BYTES = 40;
export const KEY_BYTES = 35;
export const OBSERVATION_BYTES = 19;
export const MAX_OBSERVATIONS = 1024;
export const U40_MAX = 2 ** 40 - 1;
const BRIDGE_MARK = "0xb51d";

/** QARTOD flags that the network uses. */
export const FLAGS = { pass: 1, suspect: 3, fail: 4 } as const;

/** `cell` is an H3 index (64 bits), `device` 20 bytes in hex, `observedAt` seconds, `value` in the
 * metric's scaled units. */
export interface Reading {
  readonly metric: number;
  readonly cell: bigint;
  readonly device: Hex;
  readonly observedAt: number;
  readonly value: number;
  readonly flag: number;
}

/** A reading and where it stands. */
export interface LocatedReading {
  readonly batchId: number;
  readonly position: number;
  readonly reading: Reading;
}

export type Observation = Pick<Reading, "metric" | "cell" | "observedAt" | "value">;

/** The 35-byte sort key of a reading, to bound a range. */
export function packKey(
  metric: number,
  cell: bigint,
  device: Uint8Array,
  observedAt: number,
): Uint8Array {
  return concat(uint(metric, 2), uint(cell, 8), octets("device", device, 20), uint(observedAt, 5));
}

export function packReading(reading: Reading, device: Uint8Array): Uint8Array {
  const { metric, cell, observedAt, value, flag } = record("reading", reading);
  return concat(packKey(metric, cell, device, observedAt), int(value, 4), uint(flag, 1));
}

/** Of 40 bytes. Throws MalformedReport. */
export function unpackReading(leaf: Uint8Array): Reading {
  if (bytesOf("leaf", leaf).length !== READING_BYTES) {
    throw new MalformedReport(`a reading has ${READING_BYTES} bytes, not ${leaf.length}`);
  }
  return {
    metric: Number(readUint(leaf, 0, 2)),
    cell: readUint(leaf, 2, 10),
    device: hex(leaf.subarray(10, 30)),
    observedAt: Number(readUint(leaf, 30, 35)),
    value: Number(readInt(leaf, 35, 39)),
    flag: leaf[39]!,
  };
}

/** The value of a packed reading. */
export function leafValue(leaf: Uint8Array): number {
  return Number(readInt(leaf, 35, 39));
}

/** Of packed observations, 19 bytes each. Throws MalformedReport. */
export function unpackObservations(packed: Uint8Array): Observation[] {
  checkObservations(packed);
  const found: Observation[] = [];
  for (let at = 0; at < packed.length; at += OBSERVATION_BYTES) {
    found.push({
      metric: Number(readUint(packed, at, at + 2)),
      cell: readUint(packed, at + 2, at + 10),
      observedAt: Number(readUint(packed, at + 10, at + 15)),
      value: Number(readInt(packed, at + 15, at + 19)),
    });
  }
  return found;
}

export function checkObservations(packed: Uint8Array): void {
  const count = bytesOf("observations", packed).length / OBSERVATION_BYTES;
  if (!Number.isInteger(count) || count < 1 || count > MAX_OBSERVATIONS) {
    throw new MalformedReport(
      `a report carries 1 to ${MAX_OBSERVATIONS} observations of ${OBSERVATION_BYTES} bytes, ` +
        `not ${packed.length} bytes`,
    );
  }
}

/** Whose word a reading is: the device's own key, or a bridge's for a station that cannot sign. */
export function provenanceOf(device: Hex): "device" | "bridge" {
  return hex(octets("device", device, 20)).startsWith(BRIDGE_MARK) ? "bridge" : "device";
}
