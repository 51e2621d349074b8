/** Positional Merkle tree, padded to a power of two with the zero node (docs/protocol.md, "Trees"). */

import { bytesOf, concat, equal, isZero } from "./bytes.js";
import { InvalidProof, shown } from "./errors.js";
import { DIGEST_BYTES, ZERO26, hash26 } from "./hashing.js";
import { list, whole } from "./values.js";

export const MAX_DEPTH = 32;

/** Levels above the leaves of a tree of `count` ≥ 1 leaves. */
export function depthOf(count: number): number {
  let depth = 0;
  whole("count", count, 0, Number.MAX_SAFE_INTEGER);
  // Not shifts: they have 32 bits, and a batch may have that many readings.
  for (let width = 1; width < count; width *= 2) depth++;
  return depth;
}

export function parent(left: Uint8Array, right: Uint8Array): Uint8Array {
  return isZero(left) && isZero(right) ? ZERO26 : hash26(concat(left, right));
}

/** The root over leaf hashes, at least one. */
export function rootOf(leaves: readonly Uint8Array[]): Uint8Array {
  let level = list("leaves", leaves).map((leaf) => bytesOf("leaf", leaf));
  if (!level.length) throw new InvalidProof("a tree has one leaf at least");
  while (level.length > 1) {
    const above: Uint8Array[] = [];
    for (let i = 0; i < level.length; i += 2) above.push(parent(level[i]!, level[i + 1] ?? ZERO26));
    level = above;
  }
  return level[0]!;
}

function checkNodes(nodes: readonly Uint8Array[]): void {
  if (list("nodes", nodes).some((node) => bytesOf("node", node).length !== DIGEST_BYTES)) {
    throw new InvalidProof("a node of the proof has not 26 bytes");
  }
}

/** The root that a proof leads to. Throws InvalidProof for a position outside the tree, a node that
 * has not 26 bytes, the padding as a leaf. */
export function rootFromProof(
  leaf: Uint8Array,
  position: number,
  proof: readonly Uint8Array[],
): Uint8Array {
  checkNodes(proof);
  if (isZero(leaf)) throw new InvalidProof("nothing is proven at a padded position");
  // Of a fraction or NaN every comparison may be false, and its way leads somewhere.
  if (!Number.isInteger(position) || proof.length > MAX_DEPTH || position < 0 || position >= 2 ** proof.length) {
    throw new InvalidProof(`position ${shown(position)} is outside a tree of depth ${proof.length}`);
  }
  let node = leaf;
  for (const sibling of proof) {
    node = position % 2 ? parent(sibling, node) : parent(node, sibling);
    position = Math.floor(position / 2);
  }
  return node;
}

/** Throws InvalidProof unless the leaf hash is at that position under the root. */
export function verifyInclusion(
  root: Uint8Array,
  leaf: Uint8Array,
  position: number,
  proof: readonly Uint8Array[],
): void {
  if (!equal(rootFromProof(leaf, position, proof), root)) {
    throw new InvalidProof(`the proof of position ${shown(position)} does not lead to the root`);
  }
}

type Known = readonly (readonly [number, Uint8Array])[];

/** The root over leaf hashes at strictly ascending positions of a tree of that depth. Every proof
 * has one form only.
 *
 * Throws InvalidProof when a node is missing, left over or not of 26 bytes, when a leaf is the
 * padding, or when the positions repeat, are unsorted or outside the tree. */
export function rootFromMultiproof(
  leaves: readonly Uint8Array[],
  positions: readonly number[],
  depth: number,
  nodes: readonly Uint8Array[],
): Uint8Array {
  checkClaim(leaves, positions, depth);
  checkNodes(nodes);
  const rest = nodes[Symbol.iterator]();
  const next = (): Uint8Array => {
    const found = rest.next();
    if (found.done) throw new InvalidProof(`${nodes.length} nodes are too few to lead to the root`);
    return found.value;
  };
  let level: Known = positions.map((at, i) => [at, leaves[i]!] as const);
  for (let i = 0; i < depth; i++) level = knownAbove(level, next);
  if (!rest.next().done) {
    throw new InvalidProof(`${nodes.length} nodes are more than lead to the root`);
  }
  return level[0]![1];
}

function checkClaim(
  leaves: readonly Uint8Array[],
  positions: readonly number[],
  depth: number,
): void {
  const isAt = (at: number, i: number): boolean => Number.isInteger(at) && (i === 0 || positions[i - 1]! < at);
  if (!list("positions", positions).length || !positions.every(isAt)) {
    throw new InvalidProof("positions are at least one, strictly ascending");
  }
  if (list("leaves", leaves).length !== positions.length) {
    throw new InvalidProof(`${leaves.length} leaves at ${positions.length} positions`);
  }
  const last = positions[positions.length - 1]!;
  if (!(Number.isInteger(depth) && depth >= 0 && depth <= MAX_DEPTH) || positions[0]! < 0 || last >= 2 ** depth) {
    throw new InvalidProof(`position ${last} is outside a tree of depth ${shown(depth)}`);
  }
  if (leaves.some(isZero)) throw new InvalidProof("nothing is proven at a padded position");
}

function knownAbove(level: Known, next: () => Uint8Array): Known {
  const above: [number, Uint8Array][] = [];
  for (let i = 0; i < level.length; i++) {
    const [at, node] = level[i]!;
    let joined: Uint8Array;
    if (at % 2) {
      // A known left neighbour would have taken this one with it.
      joined = parent(next(), node);
    } else if (level[i + 1]?.[0] === at + 1) {
      joined = parent(node, level[i + 1]![1]);
      i++;
    } else {
      joined = parent(node, next());
    }
    above.push([Math.floor(at / 2), joined]);
  }
  return above;
}

/** Throws InvalidProof unless all leaf hashes are at their positions under the root. */
export function verifyMultiproof(
  root: Uint8Array,
  leaves: readonly Uint8Array[],
  positions: readonly number[],
  depth: number,
  nodes: readonly Uint8Array[],
): void {
  if (!equal(rootFromMultiproof(leaves, positions, depth, nodes), root)) {
    throw new InvalidProof(`the proof of ${positions.length} positions does not lead to the root`);
  }
}
