/** What a commitment is the hash of, and how an old one is reached from a newer one. */

import { concat, equal, octets, uint } from "./bytes.js";
import { InvalidProof } from "./errors.js";
import { hash26, keccak } from "./hashing.js";
import { verifyInclusion } from "./merkle.js";
import { list, record, whole } from "./values.js";

const LANE = 2 ** 32;

/** What the commitment covers besides the readings root. Windows in seconds. */
export interface Header {
  /** lane · 2^32 + number, 48 bits: a safe integer. */
  readonly batchId: number;
  readonly previous: Uint8Array;
  readonly ancestor: Uint8Array;
  readonly statisticsRoot: Uint8Array;
  readonly reportsRoot: Uint8Array;
  readonly dataHash: Uint8Array;
  readonly rulesHash: Uint8Array;
  readonly readingCount: number;
  readonly reportCount: number;
  readonly windowStart: number;
  readonly windowEnd: number;
}

export function batchId(lane: number, number: number): number {
  return whole("lane", lane, 0, 2 ** 16 - 1) * LANE + whole("number", number, 0, LANE - 1);
}

export function laneOf(batch: number): number {
  return Math.floor(whole("batch", batch, 0, 2 ** 48 - 1) / LANE);
}

export function numberOf(batch: number): number {
  return whole("batch", batch, 0, 2 ** 48 - 1) % LANE;
}

/** The hash of the header, as `abi.encode` has its eleven words. */
export function restHash(header: Header): Uint8Array {
  record("header", header);
  const digests = (["previous", "ancestor", "statisticsRoot", "reportsRoot"] as const).map((name) =>
    octets(name, header[name], 26),
  );
  const numbers = [header.readingCount, header.reportCount, header.windowStart, header.windowEnd];
  return keccak(
    concat(
      uint(header.batchId, 32),
      ...digests.map((digest) => concat(digest, new Uint8Array(6))),
      octets("dataHash", header.dataHash, 32),
      octets("rulesHash", header.rulesHash, 32),
      ...numbers.map((number) => uint(number, 32)),
    ),
  );
}

/** 26 bytes: what the chain stores of a batch. */
export function commitmentOf(header: Header, readingsRoot: Uint8Array): Uint8Array {
  return commitmentFrom(readingsRoot, restHash(header));
}

export function commitmentFrom(readingsRoot: Uint8Array, rest: Uint8Array): Uint8Array {
  return hash26(concat(readingsRoot, rest));
}

/** The number whose commitment is the header's `ancestor`; 0 means none. Without the smallest term
 * of its skew-binary form (a greedy sum of 2^k − 1). */
export function ancestorOf(number: number): number {
  let rest = whole("number", number, 0, LANE - 1);
  let term = LANE - 1;
  while (rest !== term) {
    if (rest > term) rest -= term;
    else term = Math.floor(term / 2);
  }
  return number - term;
}

/** All that a commitment is the hash of. */
export interface Revealed {
  readonly header: Header;
  readonly readingsRoot: Uint8Array;
}

/** The batch one step back, and which word of the header leads there. */
export function stepTowards(batch: number, target: number): [number, "ancestor" | "previous"] {
  const ancestor = batchId(laneOf(batch), ancestorOf(numberOf(batch)));
  return ancestor >= target ? [ancestor, "ancestor"] : [batch - 1, "previous"];
}

/** Throws InvalidProof unless the headers lead to the commitment of the old batch. That the first
 * one is on chain is another question. */
export function verifyTrail(
  target: number,
  commitment: Uint8Array,
  links: readonly Revealed[],
): void {
  whole("target", target, 0, 2 ** 48 - 1);
  const given = list("links", links);
  if (!given.length) throw new InvalidProof("no headers");
  const expected = given.map((link) => nextOf(link, target));
  for (const [i, link] of given.slice(1).entries()) {
    const [batch, wanted] = expected[i]!;
    const own = commitmentOf(link.header, link.readingsRoot);
    if (link.header.batchId !== batch || !equal(own, wanted)) {
      throw new InvalidProof(`the header of batch ${link.header.batchId} is not the next one`);
    }
  }
  const [last, reached] = expected[expected.length - 1]!;
  if (last !== target || !equal(reached, commitment)) {
    throw new InvalidProof(`the headers do not lead to batch ${target}`);
  }
}

function nextOf(link: Revealed, target: number): [number, Uint8Array] {
  const header = record("header", record("link", link).header);
  const batch = whole("batchId", header.batchId, 0, 2 ** 48 - 1);
  if (batch <= target || laneOf(batch) !== laneOf(target)) {
    throw new InvalidProof(`batch ${batch} does not lead to ${target}`);
  }
  const [step, by] = stepTowards(batch, target);
  return [step, header[by]];
}

/** Where a commitment stands: batch id of the word, which member of its group, siblings. */
export interface Place {
  readonly anchorId: number;
  readonly member: number;
  readonly path: readonly Uint8Array[];
}

/** A batch's leaf in the tree of a group: 32 bytes of preimage, which no node (52) can be. */
export function groupLeaf(batch: number, commitment: Uint8Array): Uint8Array {
  return hash26(concat(commitment, uint(batch, 6)));
}

/** Throws InvalidProof unless the ring's word at `place` holds the batch's commitment. */
export function verifyPlace(
  word: Uint8Array,
  grouped: boolean,
  batch: number,
  commitment: Uint8Array,
  place: Place,
): void {
  record("place", place);
  list("path", place.path);
  if (grouped) {
    verifyInclusion(word, groupLeaf(batch, commitment), place.member, place.path);
    return;
  }
  const alone = place.anchorId === batch && place.member === 0 && place.path.length === 0;
  if (!alone || !equal(word, commitment)) {
    throw new InvalidProof(`batch ${batch} does not stand at ${place.anchorId}`);
  }
}
