/** Whether an answer follows from the commitments on chain. Pure: the commitments were fetched from
 * the user's own node before; here they are compared. */

import { cut, hex, octets } from "./bytes.js";
import type { Commitments } from "./chain.js";
import type { BatchProof, Disclosed, Documents, Part, ReadingRow, Skipped } from "./documents.js";
import { InvalidProof, RangeIncomplete, UnknownBatch, WrongAnswer } from "./errors.js";
import { DIGEST_BYTES, hash26 } from "./hashing.js";
import { commitmentFrom, commitmentOf, laneOf, numberOf, type Header } from "./header.js";
import { depthOf, rootFromMultiproof, rootFromProof, verifyMultiproof } from "./merkle.js";
import type { Bounds, ReadingQuestion, ReadingsQuestion } from "./questions.js";
import {
  READING_BYTES,
  packReading,
  unpackReading,
  type LocatedReading,
  type Reading,
} from "./reading.js";
import {
  NOTHING,
  add,
  checkBoundaries,
  statisticsText,
  unpackNode,
  verifyRange,
  type Statistics,
} from "./statistics.js";
import { bytesCompared, type Steps } from "./steps.js";
import { metricOf } from "./vocabulary.js";

export type Window = readonly [from: number, to: number];

function chainWord(commitments: Commitments, batch: number): Uint8Array {
  const word = commitments.get(batch);
  if (!word) throw new UnknownBatch(batch);
  return word;
}

// ------------------------------------------------------------------ one reading

/** Throws WrongAnswer, InvalidProof. */
export function verifyReading(
  answer: Documents["readingProof"],
  question: ReadingQuestion,
  commitments: Commitments,
  steps: Steps,
): LocatedReading {
  const { batchId } = question;
  const { leaf, position, proof } = answer;
  const reading = unpackReading(leaf);
  const own = steps.run("inclusion", "Hash the reading and its siblings up to the root", { batchId }, () =>
    commitmentFrom(rootFromProof(hash26(leaf), position, proof), answer.rest_hash),
  );
  const word = chainWord(commitments, batchId);
  steps.compare(
    "commitment",
    `The reading is under the commitment of batch ${batchId} on chain`,
    bytesCompared(["computed from the reading and its proof", own], ["your node's word", word]),
    () => new InvalidProof(`the reading is not under the commitment of batch ${batchId}`),
    batchId,
  );
  checkClaimed(question, reading, steps);
  return { batchId, position, reading };
}

function checkClaimed(question: ReadingQuestion, reading: Reading, steps: Steps): void {
  for (const [name, said] of Object.entries(question.claimed ?? {})) {
    const proven = reading[name as keyof Reading];
    steps.compare(
      "question",
      `What is shown of the reading is what is proven: ${name}`,
      { left: { what: "shown", value: String(said) }, right: { what: "proven", value: String(proven) } },
      () => new WrongAnswer(`${name} is ${proven}, not ${said}`),
      question.batchId,
    );
  }
}

/** Throws WrongAnswer when the proof is of another position. */
export function checkPosition(found: number, asked: number): void {
  if (found !== asked) throw new WrongAnswer(`the reading at ${found}, not at ${asked}`);
}

// ------------------------------------------------------------------ a page of readings

export function located(row: ReadingRow): LocatedReading {
  const reading: Reading = {
    metric: row.metric,
    cell: BigInt(`0x${row.cell}`),
    device: hex(row.device),
    observedAt: row.observed_at,
    value: row.value,
    flag: row.flag,
  };
  return { batchId: row.batch_id, position: row.position, reading };
}

/** It holds readings that were asked for, in order. Throws WrongAnswer. */
export function checkPage(
  rows: readonly LocatedReading[],
  nextCursor: string | null,
  question: ReadingsQuestion,
): void {
  const limit = question.limit ?? Infinity;
  if (rows.length > limit) {
    throw new WrongAnswer(`${rows.length} readings where ${limit} were asked for`);
  }
  if (!rows.length && nextCursor !== null) {
    throw new WrongAnswer("an empty page that says there is more");
  }
  const device = hex(octets("device", question.device, 20));
  const metric = question.metric === undefined ? null : metricOf(question.metric).code;
  for (const [i, row] of rows.entries()) {
    const { reading } = row;
    const wanted =
      reading.device === device &&
      (metric === null || reading.metric === metric) &&
      reading.observedAt >= (question.from ?? 0) &&
      reading.observedAt <= (question.to ?? Infinity);
    if (!wanted) throw new WrongAnswer(`reading ${i} of the page was not asked for`);
    const before = i ? rows[i - 1] : question.after;
    if (before && !isAfter(row, before)) {
      throw new WrongAnswer(`reading ${i} of the page repeats, or is out of order`);
    }
  }
}

/** What pages are ordered by; no two readings share it. */
function isAfter(row: LocatedReading, before: LocatedReading): boolean {
  const places = [row, before].map(({ reading, batchId, position }) => [
    reading.metric,
    reading.observedAt,
    batchId,
    position,
  ]);
  const [own, other] = places as [number[], number[]];
  const first = own.findIndex((part, i) => part !== other[i]);
  return first >= 0 && own[first]! > other[first]!;
}

/** Every reading is under the commitment of its batch. Throws InvalidProof. */
export function verifyPage(
  rows: readonly LocatedReading[],
  proofs: ReadonlyMap<number, BatchProof>,
  commitments: Commitments,
  steps: Steps,
): void {
  for (const [batchId, items] of byBatch(rows)) {
    const proof = proofs.get(batchId)!;
    const text = `Hash ${items.length} readings of batch ${batchId} up to the root`;
    const own = steps.run("inclusion", text, { batchId }, () => commitmentOfPage(proof, items));
    steps.compare(
      "commitment",
      `${items.length} readings are under the commitment of batch ${batchId} on chain`,
      bytesCompared(
        ["computed from the readings and their proof", own],
        ["your node's word", chainWord(commitments, batchId)],
      ),
      () => new InvalidProof(`readings are not under the commitment of batch ${batchId}`),
      batchId,
    );
  }
}

export function byBatch(rows: readonly LocatedReading[]): Map<number, LocatedReading[]> {
  const batches = new Map<number, LocatedReading[]>();
  for (const row of rows) {
    const found = batches.get(row.batchId);
    if (found) found.push(row);
    else batches.set(row.batchId, [row]);
  }
  return batches;
}

/** Throws InvalidProof when the batches of the readings and of the proofs are not the same. */
export function checkProofs(
  rows: readonly LocatedReading[],
  proofs: ReadonlyMap<number, BatchProof>,
): void {
  const batches = byBatch(rows);
  if (batches.size !== proofs.size || [...batches.keys()].some((batch) => !proofs.has(batch))) {
    throw new InvalidProof("the batches of the readings and of the proofs are not the same");
  }
}

function commitmentOfPage(proof: BatchProof, rows: readonly LocatedReading[]): Uint8Array {
  const items = [...rows].sort((one, two) => one.position - two.position);
  const leaves = items.map(({ reading }) =>
    hash26(packReading(reading, octets("device", reading.device, 20))),
  );
  const positions = items.map(({ position }) => position);
  const root = rootFromMultiproof(leaves, positions, proof.depth, cut(proof.nodes, DIGEST_BYTES));
  return commitmentFrom(root, proof.rest_hash);
}

// ------------------------------------------------------------------ statistics

type Answer = Documents["statistics"];
type Share = Part | Disclosed;

/** Whose commitments are needed, and where to look for them. */
export function batchesOf({ parts, disclosed, skipped }: Answer): Map<number, number | null> {
  const all = [...parts, ...skipped, ...disclosed];
  return new Map(all.map(({ header, block }) => [header.batchId, block]));
}

/** A batch that reaches beyond the window must show its leaves. Throws RangeIncomplete. */
export function checkWithin({ parts }: Answer, [from, to]: Window): void {
  for (const { header } of parts) {
    if (header.windowStart < from || header.windowEnd > to) {
      throw new RangeIncomplete(`batch ${header.batchId} reaches beyond the window`);
    }
  }
}

/** Proves every part, and that no batch between the first and the last was left out. Throws
 * InvalidProof, RangeIncomplete. */
export function verifyStatistics(
  answer: Answer,
  bounds: readonly Bounds[],
  window: Window,
  commitments: Commitments,
  steps: Steps,
): Statistics {
  const shares: readonly Share[] = [...answer.parts, ...answer.disclosed];
  steps.run("question", "Every part is of the readings that were asked for", {}, () =>
    checkAsked(shares, bounds),
  );
  for (const skipped of answer.skipped) verifySkipped(skipped, window, commitments, steps);
  steps.run("gap", "No batch between the first and the last one is left out", {}, () =>
    checkNoGap(shares, answer.skipped, bounds.length),
  );
  let total = NOTHING;
  for (const part of answer.parts) total = add(total, verifyPart(part, commitments, steps));
  for (const shown of answer.disclosed) {
    total = add(total, verifyDisclosed(shown, window, commitments, steps));
  }
  compareStatistics(steps, "total", "The parts make the whole", answer, total);
  return total;
}

const keyOf = (low: Uint8Array, high: Uint8Array): string => `${hex(low)}-${hex(high)}`;

function checkAsked(shares: readonly Share[], bounds: readonly Bounds[]): void {
  const asked = new Set(bounds.map(([low, high]) => keyOf(low, high)));
  if (shares.some(({ low, high }) => !asked.has(keyOf(low, high)))) {
    throw new RangeIncomplete("a part answers another question than the one asked");
  }
}

function checkHeader(
  header: Header,
  readingsRoot: Uint8Array,
  commitments: Commitments,
  steps: Steps,
): void {
  const { batchId } = header;
  steps.compare(
    "header",
    `The header of batch ${batchId} is the one on chain`,
    bytesCompared(
      ["computed from the header", commitmentOf(header, readingsRoot)],
      ["your node's word", chainWord(commitments, batchId)],
    ),
    () => new InvalidProof(`the header of batch ${batchId} is not the one on chain`),
    batchId,
  );
}

function verifySkipped(
  { header, readings_root: root }: Skipped,
  [from, to]: Window,
  commitments: Commitments,
  steps: Steps,
): void {
  const { batchId, windowStart, windowEnd } = header;
  checkHeader(header, root, commitments, steps);
  steps.run("skipped", `Batch ${batchId} has nothing of the window`, { batchId }, () => {
    if (windowEnd >= from && windowStart <= to) {
      throw new RangeIncomplete(`batch ${batchId} overlaps, yet it was skipped`);
    }
  });
}

function checkNoGap(shares: readonly Share[], skipped: readonly Skipped[], ranges: number): void {
  const seen = new Map<number, string[]>();
  for (const { header, low, high } of shares) {
    const found = seen.get(header.batchId) ?? [];
    seen.set(header.batchId, [...found, keyOf(low, high)]);
  }
  const once = [...seen.values()].every(
    (keys) => keys.length === ranges && new Set(keys).size === ranges,
  );
  const left = new Set(skipped.map(({ header }) => header.batchId));
  if (!once || [...left].some((batch) => seen.has(batch))) {
    throw new RangeIncomplete("a batch does not answer each range exactly once");
  }
  checkContiguous([...seen.keys(), ...left]);
}

function checkContiguous(batches: readonly number[]): void {
  const lanes = new Map<number, { count: number; first: number; last: number }>();
  for (const batch of batches) {
    const number = numberOf(batch);
    const lane = lanes.get(laneOf(batch)) ?? { count: 0, first: number, last: number };
    lanes.set(laneOf(batch), {
      count: lane.count + 1,
      first: Math.min(lane.first, number),
      last: Math.max(lane.last, number),
    });
  }
  for (const [lane, { count, first, last }] of lanes) {
    if (count !== last - first + 1) {
      throw new RangeIncomplete(`lane ${lane} has a gap between ${first}, ${last}`);
    }
  }
}

function verifyPart(part: Part, commitments: Commitments, steps: Steps): Statistics {
  const { header, from, to, low, high } = part;
  const { batchId } = header;
  checkHeader(header, part.readings_root, commitments, steps);
  const text = `Hash the range [${from}, ${to}) of batch ${batchId} up to the statistics root`;
  const proven = steps.run("range", text, { batchId }, () => {
    const proof = { leaves: part.leaves, nodes: part.nodes.map(unpackNode) };
    const { statisticsRoot, readingCount } = header;
    return verifyRange(statisticsRoot, readingCount, from, to, low, high, proof);
  });
  compareStatistics(steps, "range", `What is claimed of batch ${batchId} is proven`, part, proven, batchId);
  return proven;
}

function compareStatistics(
  steps: Steps,
  check: "range" | "total",
  text: string,
  claimed: Statistics,
  proven: Statistics,
  batchId?: number,
): void {
  const [left, right] = [statisticsText(claimed), statisticsText(proven)];
  const compared = { left: { what: "claimed", value: left }, right: { what: "proven", value: right } };
  const refusal = () => new InvalidProof(`claimed ${left}, proven ${right}`);
  steps.compare(check, text, compared, refusal, batchId);
}

function verifyDisclosed(
  shown: Disclosed,
  window: Window,
  commitments: Commitments,
  steps: Steps,
): Statistics {
  const { header, from, to } = shown;
  const { batchId } = header;
  checkHeader(header, shown.readings_root, commitments, steps);
  const text = `All readings of the range [${from}, ${to}) of batch ${batchId} are shown`;
  const inside = steps.run("leaves", text, { batchId }, () => checkLeaves(shown));
  return inside.map(unpackReading).reduce((total, reading) => count(total, reading, window), NOTHING);
}

/** The leaves of the range, without its neighbours. Throws InvalidProof, RangeIncomplete. */
function checkLeaves({ header, readings_root: root, from, to, low, high, leaves, nodes }: Disclosed): Uint8Array[] {
  const total = header.readingCount;
  const first = Math.max(0, from - 1);
  const shown = cut(leaves, READING_BYTES);
  if (!(from <= to && to <= total) || Math.min(total, to + 1) - first !== shown.length) {
    throw new InvalidProof(`[${from}, ${to}) of ${total} is not what is shown`);
  }
  const positions = shown.map((_, i) => first + i);
  const hashes = shown.map(hash26);
  verifyMultiproof(root, hashes, positions, depthOf(total), cut(nodes, DIGEST_BYTES));
  checkBoundaries(positions, shown, from, to, low, high);
  return shown.slice(from - first, to - first);
}

function count(total: Statistics, { observedAt, value }: Reading, [from, to]: Window): Statistics {
  if (observedAt < from || observedAt > to) return total;
  return add(total, { count: 1, sum: BigInt(value), min: value, max: value });
}

