/** H3 cells by their layout alone (h3geo.org, "H3 Index"), and regions as ranges of keys.
 *
 * A batch's leaves are sorted by (metric, cell, device, time): the children of a cell, of one
 * resolution, are neighbours. A region therefore names the resolution that it is of. */

import { InvalidCell, InvalidValue } from "./errors.js";
import { list } from "./values.js";
import { U40_MAX, packKey } from "./reading.js";

/** An index of 64 bits, or its hex digits. */
export type CellLike = bigint | string;

export const RESOLUTION = 7;
export const MAX_CELLS = 64;
const FINEST = 15;
const UNUSED = 7;
const DELETED = 1;
const BASE_CELLS = 122;
const PENTAGONS = new Set([4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117]);

export function resolutionOf(cell: bigint): number {
  return Number((index(cell) >> 52n) & 0xfn);
}

function index(cell: bigint): bigint {
  if (typeof cell !== "bigint") throw new InvalidValue("cell", cell, "takes a bigint");
  return cell;
}

function baseOf(cell: bigint): number {
  return Number((cell >> 45n) & 0x7fn);
}

/** Where the digit of a resolution lies. */
function shift(level: number): bigint {
  return BigInt(3 * (FINEST - level));
}

function digitOf(cell: bigint, level: number): number {
  return Number((cell >> shift(level)) & 7n);
}

/** Whether an index of 64 bits is a cell of any resolution. */
export function isCell(cell: bigint): boolean {
  // The top byte: mode 1, all other bits zero.
  if (typeof cell !== "bigint") return false;
  if (cell >> 56n !== 8n || baseOf(cell) >= BASE_CELLS) return false;
  const resolution = resolutionOf(cell);
  let first = 0;
  for (let level = 1; level <= FINEST; level++) {
    const digit = digitOf(cell, level);
    if ((digit === UNUSED) !== level > resolution) return false;
    if (!first && level <= resolution) first = digit;
  }
  return !(PENTAGONS.has(baseOf(cell)) && first === DELETED);
}

/** Throws InvalidCell, InvalidValue for what is no index at all. */
export function cellOf(cell: CellLike): bigint {
  const index = typeof cell === "string" ? fromText(cell) : cell;
  if (typeof index !== "bigint") throw new InvalidValue("cell", cell, "takes a bigint, or hex digits");
  if (!isCell(index)) throw new InvalidCell(index);
  return index;
}

function fromText(text: string): bigint {
  if (!/^(0x)?[0-9a-fA-F]{1,16}$/.test(text)) {
    throw new InvalidValue("cell", text, "takes an H3 index of at most 16 hex digits");
  }
  return BigInt(text.startsWith("0x") ? text : `0x${text}`);
}

/** As the API writes it. */
export function cellText(cell: bigint): string {
  return index(cell).toString(16).padStart(15, "0");
}

export type Span = readonly [bigint, bigint];

/** The least and the greatest index of a cell's children of a resolution. */
function spanOf(cell: bigint, resolution: number): Span {
  const own = resolutionOf(cell);
  if (!(Number.isInteger(resolution) && own <= resolution && resolution <= FINEST)) {
    throw new InvalidValue("resolution", resolution, `takes ${own} to ${FINEST} for ${cellText(cell)}`);
  }
  let low = cell + (BigInt(resolution - own) << 52n);
  let high = low;
  for (let level = own + 1; level <= resolution; level++) {
    low -= 7n << shift(level); // the unused digit, 7, becomes the first child's
    high -= 1n << shift(level);
  }
  return [low, high];
}

/** Of a cell among all of its resolution: base cell and digits to the base of seven. */
function placeOf(cell: bigint, resolution: number): number {
  let place = baseOf(cell);
  for (let level = 1; level <= resolution; level++) place = place * 7 + digitOf(cell, level);
  return place;
}

/** All cells of a resolution that lie in the given ones, ascending, neighbours as one span.
 *
 * Throws InvalidValue for none, more than MAX_CELLS, or a resolution coarser than one of them;
 * InvalidCell. */
export function spansOf(cells: readonly CellLike[], resolution: number): Span[] {
  const spans = new Map(
    list("cells", cells).map((cell) => {
      const span = spanOf(cellOf(cell), resolution);
      return [span.join(), span] as const;
    }),
  );
  if (spans.size < 1 || spans.size > MAX_CELLS) {
    throw new InvalidValue("cells", spans.size, `takes 1 to ${MAX_CELLS} cells`);
  }
  const found: [bigint, bigint][] = [];
  for (const [low, high] of [...spans.values()].sort(bySpan)) {
    const before = found[found.length - 1];
    if (before && (low <= before[1] || placeOf(low, resolution) <= placeOf(before[1], resolution) + 1)) {
      if (high > before[1]) before[1] = high;
    } else {
      found.push([low, high]);
    }
  }
  return found;
}

function bySpan(one: Span, two: Span): number {
  const difference = one[0] === two[0] ? one[1] - two[1] : one[0] - two[0];
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** All readings of a metric in the cells of a span, of every device and time: the lowest and the
 * highest key, 35 bytes each. */
export function keysOf(metric: number, span: Span): [Uint8Array, Uint8Array] {
  const [low, high] = list("span", span) as Span;
  return [
    packKey(metric, low, new Uint8Array(20), 0),
    packKey(metric, high, new Uint8Array(20).fill(0xff), U40_MAX),
  ];
}
