/** The JSON that the query API answers, checked in shape and range: then believed to be well formed,
 * never to be true. Names that are not listed are passed over: a later server may say more. */

import { unhex } from "./bytes.js";
import { MalformedAnswer, shown } from "./errors.js";
import type { Header } from "./header.js";
import { MAX_DEPTH } from "./merkle.js";

/** A value at a place of the document. Throws MalformedAnswer. */
type Read<T> = (value: unknown, at: string) => T;
type Fields = Record<string, Read<unknown>>;
type Found<R> = R extends Read<infer T> ? T : never;
export type Shape<F extends Fields> = { readonly [K in keyof F]: Found<F[K]> };

function malformed(at: string, right: string, value: unknown): MalformedAnswer {
  return new MalformedAnswer(`${at || "the answer"} is not ${right}: ${shown(value)}`);
}

/** A whole number of a range that `number` holds. */
function whole(low: number, high: number): Read<number> {
  return (value, at) => {
    if (typeof value !== "number" || !Number.isInteger(value) || value < low || value > high) {
      throw malformed(at, `a whole number from ${low} to ${high}`, value);
    }
    return value;
  };
}

/** A whole number of any size: a bigint of `parseJson`, or a number that was not rounded. */
function big(low?: bigint, high?: bigint): Read<bigint> {
  return (value, at) => {
    const found =
      typeof value === "bigint" ? value : Number.isSafeInteger(value) ? BigInt(value as number) : null;
    if (found === null) throw malformed(at, "a whole number with all its digits (parseJson)", value);
    if ((low !== undefined && found < low) || (high !== undefined && found > high)) {
      throw malformed(at, `from ${low} to ${high}`, value);
    }
    return found;
  };
}

function text(pattern: RegExp, right: string): Read<string> {
  return (value, at) => {
    if (typeof value !== "string" || !pattern.test(value)) throw malformed(at, right, value);
    return value;
  };
}

function octets(size: number): Read<Uint8Array> {
  const read = text(new RegExp(`^0x[0-9a-fA-F]{${2 * size}}$`), `${size} bytes in hex`);
  return (value, at) => unhex(read(value, at));
}

/** Items of one size, packed. */
function packed(size: number): Read<Uint8Array> {
  const read = text(new RegExp(`^0x(?:[0-9a-fA-F]{${2 * size}})*$`), `items of ${size} bytes in hex`);
  return (value, at) => unhex(read(value, at));
}

function list<T>(read: Read<T>): Read<readonly T[]> {
  return (value, at) => {
    if (!Array.isArray(value)) throw malformed(at, "a list", value);
    return value.map((item, i) => read(item, `${at}[${i}]`));
  };
}

function orNull<T>(read: Read<T>): Read<T | null> {
  return (value, at) => (value === undefined || value === null ? null : read(value, at));
}

function orNone<T>(read: Read<readonly T[]>): Read<readonly T[]> {
  return (value, at) => (value === undefined ? [] : read(value, at));
}

function object<F extends Fields>(fields: F): Read<Shape<F>> {
  return (value, at) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw malformed(at, "an object", value);
    }
    const found = value as Record<string, unknown>;
    const entries = Object.entries(fields).map(([name, read]) => [
      name,
      read(found[name], at ? `${at}.${name}` : name),
    ]);
    return Object.fromEntries(entries) as Shape<F>;
  };
}

const U8 = whole(0, 2 ** 8 - 1);
const U16 = whole(0, 2 ** 16 - 1);
const U32 = whole(0, 2 ** 32 - 1);
const U40 = whole(0, 2 ** 40 - 1);
const I32 = whole(-(2 ** 31), 2 ** 31 - 1);
const I64 = big(-(2n ** 63n), 2n ** 63n - 1n);
const BATCH_ID = whole(1, 2 ** 48 - 1);
// A hint where to look, of any size: what no chain has reached yet is beyond every head.
const BLOCK = orNull((value: unknown, at: string) => Number(big(0n)(value, at)));
// Over many batches; what `number` would round is no count of any chain.
const COUNT: Read<number> = (value, at) => Number(big(0n)(value, at));

const header = object({
  batch_id: BATCH_ID,
  previous: octets(26),
  ancestor: octets(26),
  statistics_root: octets(26),
  reports_root: octets(26),
  data_hash: octets(32),
  rules_hash: octets(32),
  reading_count: whole(1, 2 ** 32 - 1),
  report_count: U32,
  window_start: U40,
  window_end: U40,
});

const readHeader: Read<Header> = (value, at) => {
  const found = header(value, at);
  return {
    batchId: found.batch_id,
    previous: found.previous,
    ancestor: found.ancestor,
    statisticsRoot: found.statistics_root,
    reportsRoot: found.reports_root,
    dataHash: found.data_hash,
    rulesHash: found.rules_hash,
    readingCount: found.reading_count,
    reportCount: found.report_count,
    windowStart: found.window_start,
    windowEnd: found.window_end,
  };
};

const share = {
  header: readHeader,
  readings_root: octets(26),
  low: octets(35),
  high: octets(35),
  from: U32,
  to: U32,
  block: BLOCK,
};
const part = object({
  ...share,
  leaves: list(octets(40)),
  nodes: list(octets(42)),
  count: U32,
  sum: I64,
  min: I32,
  max: I32,
});
const disclosed = object({ ...share, leaves: packed(40), nodes: packed(26) });
const skipped = object({ header: readHeader, readings_root: octets(26), block: BLOCK });
const reading = object({
  batch_id: BATCH_ID,
  position: U32,
  metric: U16,
  cell: text(/^[0-9a-f]{15,16}$/, "an H3 index in hex"),
  device: octets(20),
  observed_at: U40,
  value: I32,
  flag: U8,
});
const batchProof = object({
  batch_id: BATCH_ID,
  rest_hash: octets(32),
  depth: whole(0, MAX_DEPTH),
  nodes: packed(26),
  block: BLOCK,
});

const documents = {
  readingProof: object({
    position: U32,
    leaf: octets(40),
    rest_hash: octets(32),
    proof: list(octets(26)),
    block: BLOCK,
  }),
  statistics: object({
    count: COUNT,
    sum: big(),
    min: I32,
    max: I32,
    parts: list(part),
    skipped: list(skipped),
    disclosed: orNone(list(disclosed)),
  }),
  readings: object({
    items: list(reading),
    next_cursor: orNull(text(/^/, "a text")),
    proofs: orNone(list(batchProof)),
  }),
  reward: object({
    owner: octets(20),
    cumulative: text(/^[0-9]{1,78}$/, "a decimal number"),
    position: U32,
    proof: list(octets(26)),
  }),
  batch: object({
    batch_id: BATCH_ID,
    state: text(/^/, "a text"),
    commitment: octets(26),
    block: BLOCK,
    header: orNull(readHeader),
    readings_root: orNull(octets(26)),
  }),
};

export type Documents = { readonly [K in keyof typeof documents]: Found<(typeof documents)[K]> };
export type Part = Found<typeof part>;
export type Disclosed = Found<typeof disclosed>;
export type Skipped = Found<typeof skipped>;
export type ReadingRow = Found<typeof reading>;
export type BatchProof = Found<typeof batchProof>;

/** A decoded JSON value as a document of the API. Throws MalformedAnswer. */
export function readDocument<K extends keyof Documents>(kind: K, value: unknown): Documents[K] {
  return documents[kind](value, "") as Documents[K];
}
