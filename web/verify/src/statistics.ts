/** Count, sum, min and max of any contiguous range of a batch, proven in O(log n) (docs/protocol.md,
 * "Trees"). Each child's own statistics go into the parent's hash. */

import { bytesOf, compare, concat, equal, int, isZero, octets, readInt } from "./bytes.js";
import { InvalidProof, RangeIncomplete, shown } from "./errors.js";
import { DIGEST_BYTES, ZERO26, hash26 } from "./hashing.js";
import { depthOf } from "./merkle.js";
import { KEY_BYTES, READING_BYTES, leafValue } from "./reading.js";
import { list, record } from "./values.js";

export const NODE_BYTES = 42;
const I64_MAX = 2n ** 63n - 1n;
const I64_MIN = -(2n ** 63n);

/** Of the values of a range, in the metric's scaled units. With count 0 the others are 0. */
export interface Statistics {
  readonly count: number;
  readonly sum: bigint;
  readonly min: number;
  readonly max: number;
}

export const NOTHING: Statistics = { count: 0, sum: 0n, min: 0, max: 0 };

export function add(one: Statistics, two: Statistics): Statistics {
  if (!one.count || !two.count) return one.count ? one : two;
  return {
    count: one.count + two.count,
    sum: one.sum + two.sum,
    min: Math.min(one.min, two.min),
    max: Math.max(one.max, two.max),
  };
}


/** As a line: "count 3, sum -12, min -8, max 4". */
export function statisticsText({ count, sum, min, max }: Statistics): string {
  return `count ${count}, sum ${sum}, min ${min}, max ${max}`;
}

/** Hash and statistics of a subtree; the count follows from its position. */
export interface StatisticsNode {
  readonly hash: Uint8Array;
  readonly sum: bigint;
  readonly min: number;
  readonly max: number;
}

const ZERO_NODE: StatisticsNode = { hash: ZERO26, sum: 0n, min: 0, max: 0 };

/** 42 bytes. Throws InvalidProof for a sum that only a forged node can have. */
export function packNode(node: StatisticsNode): Uint8Array {
  const { hash } = record("node", node);
  if (bytesOf("hash", hash).length !== DIGEST_BYTES || typeof node.sum !== "bigint") {
    throw new InvalidProof("a node of the range proof has not 26 bytes and a sum");
  }
  if (node.sum < I64_MIN || node.sum > I64_MAX) throw new InvalidProof("a sum does not fit 64 bits");
  return concat(node.hash, int(node.sum, 8), int(node.min, 4), int(node.max, 4));
}

/** Of 42 bytes. Throws InvalidProof. */
export function unpackNode(packed: Uint8Array): StatisticsNode {
  if (bytesOf("node", packed).length !== NODE_BYTES) {
    throw new InvalidProof(`a node of the range proof has ${NODE_BYTES} bytes`);
  }
  return {
    hash: packed.subarray(0, 26),
    sum: readInt(packed, 26, 34),
    min: Number(readInt(packed, 34, 38)),
    max: Number(readInt(packed, 38, 42)),
  };
}

function leafNode(leaf: Uint8Array): StatisticsNode {
  const value = leafValue(leaf);
  return { hash: hash26(leaf), sum: BigInt(value), min: value, max: value };
}

function merge(left: StatisticsNode, right: StatisticsNode): StatisticsNode {
  const leftIsZero = isZero(left.hash);
  const rightIsZero = isZero(right.hash);
  if (leftIsZero && rightIsZero) return ZERO_NODE;
  const hash = hash26(concat(packNode(left), packNode(right)));
  if (rightIsZero) return { ...left, hash };
  if (leftIsZero) return { ...right, hash };
  return {
    hash,
    sum: left.sum + right.sum,
    min: Math.min(left.min, right.min),
    max: Math.max(left.max, right.max),
  };
}

/** Revealed boundary leaves (40 bytes each) and subtree nodes, both left to right. */
export interface RangeProof {
  readonly leaves: readonly Uint8Array[];
  readonly nodes: readonly StatisticsNode[];
}

/** The leaves a proof of [start, end) shows: both edges and their outer neighbours. */
export function revealedPositions(start: number, end: number, count: number): number[] {
  const edges = start === end ? [start - 1, end] : [start - 1, start, end - 1, end];
  return [...new Set(edges)].filter((at) => at >= 0 && at < count).sort((one, two) => one - two);
}

/** Rebuilds the root from a proof, top down, adding up what lies inside the range. */
class Walk {
  total = NOTHING;
  private leavesTaken = 0;
  private nodesTaken = 0;

  constructor(
    private readonly count: number,
    private readonly start: number,
    private readonly end: number,
    private readonly shown: readonly number[],
    private readonly proof: RangeProof,
  ) {}

  get isWhole(): boolean {
    return this.nodesTaken === this.proof.nodes.length;
  }

  rebuild(level: number, index: number): StatisticsNode {
    const width = 2 ** level;
    const first = index * width;
    if (first >= this.count) return ZERO_NODE;
    if (!this.shown.some((at) => at >= first && at < first + width)) {
      return this.counted(taken(this.proof.nodes, this.nodesTaken++), first, width);
    }
    if (level === 0) {
      return this.counted(leafNode(taken(this.proof.leaves, this.leavesTaken++)), first, 1);
    }
    const left = this.rebuild(level - 1, 2 * index);
    return merge(left, this.rebuild(level - 1, 2 * index + 1));
  }

  private counted(node: StatisticsNode, first: number, width: number): StatisticsNode {
    if (isZero(node.hash)) throw new InvalidProof("a real subtree cannot be the zero node");
    if (first >= this.start && first < this.end) {
      const count = Math.min(first + width, this.count) - first;
      this.total = add(this.total, { count, sum: node.sum, min: node.min, max: node.max });
    }
    return node;
  }
}

function taken<T>(items: readonly T[], at: number): T {
  if (at >= items.length) throw new InvalidProof("the range proof is too short");
  return items[at]!;
}

/** Leaves in [start, end) have keys from `low` to `high`, those before and after have not.
 * `positions` are those of the leaves. Throws RangeIncomplete. */
export function checkBoundaries(
  positions: readonly number[],
  leaves: readonly Uint8Array[],
  start: number,
  end: number,
  low: Uint8Array,
  high: Uint8Array,
): void {
  for (const [i, position] of positions.entries()) {
    const key = leaves[i]!.subarray(0, KEY_BYTES);
    const aboveLow = compare(key, low) >= 0;
    const belowHigh = compare(key, high) <= 0;
    const enclosed =
      position < start ? !aboveLow : position >= end ? !belowHigh : aboveLow && belowHigh;
    if (!enclosed) throw new RangeIncomplete(`the leaf at position ${position} is on the wrong side`);
  }
}

/** Statistics of all readings with `low` ≤ key ≤ `high` (35 bytes each) in a batch of `count`.
 *
 * Throws InvalidProof when the proof does not lead to the statistics root, RangeIncomplete when
 * [start, end) is not exactly the range between the keys. Relies on the leaves being sorted, which
 * everyone checks who opens the data file, and which is a one-step challenge. */
export function verifyRange(
  root: Uint8Array,
  count: number,
  start: number,
  end: number,
  low: Uint8Array,
  high: Uint8Array,
  proof: RangeProof,
): Statistics {
  octets("low", low, KEY_BYTES);
  octets("high", high, KEY_BYTES);
  list("nodes", record("proof", proof).nodes);
  const areWhole = [count, start, end].every(Number.isInteger);
  if (!(areWhole && start >= 0 && start <= end && end <= count) || compare(low, high) > 0) {
    throw new InvalidProof(`[${shown(start)}, ${shown(end)}) is not a range of ${shown(count)} leaves`);
  }
  const revealed = revealedPositions(start, end, count);
  const { leaves } = proof;
  if (revealed.length !== list("leaves", leaves).length || leaves.some((leaf) => bytesOf("leaf", leaf).length !== READING_BYTES)) {
    throw new InvalidProof("the range proof does not show its boundary leaves");
  }
  const walk = new Walk(count, start, end, revealed, proof);
  const top = walk.rebuild(depthOf(count), 0);
  if (!walk.isWhole || !equal(hash26(packNode(top)), root)) {
    throw new InvalidProof("the range proof does not lead to the statistics root");
  }
  checkBoundaries(revealed, leaves, start, end, low, high);
  if (walk.total.sum < I64_MIN || walk.total.sum > I64_MAX) {
    throw new InvalidProof("the sum of the range does not fit 64 bits");
  }
  return walk.total;
}
