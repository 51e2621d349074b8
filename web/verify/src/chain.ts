/** What the user's own node says of the contracts: commitments of batches, the active reward root. */

import {
  concat,
  cut,
  equal,
  hex,
  isZero,
  octets,
  readUint,
  uint,
  type BytesLike,
  type Hex,
} from "./bytes.js";
import { ChainUnavailable, NodeRefusal, Reverted, UnknownBatch, WrongChain } from "./errors.js";
import { keccak, utf8 } from "./hashing.js";
import { Node, nodeOctets, revertData, viewCall, type Log, type RpcLike } from "./node.js";
import { integer, record, whole } from "./values.js";

/** The node, and where the contracts are: from the deployment's manifest, never from the API. */
export interface ChainOptions {
  readonly rpc: RpcLike;
  readonly chainId: number | bigint;
  /** The address of the contract DataBatches. */
  readonly dataBatches: BytesLike;
  /** Only for rewards: the address of CoreToken. */
  readonly coreToken?: BytesLike;
  /** The block of the manifest's DataBatches: where a search of the log begins. */
  readonly firstBlock?: number;
}

export type Commitments = ReadonlyMap<number, Uint8Array>;

/** Each batch maps to the block in which somebody says that it was committed, a hint, or null. */
export type Hints = ReadonlyMap<number, number | null>;

const MAX_GROUP = 256;
/** Alternatives of one log filter: what nodes take. */
const MAX_TOPICS = 1024;

function selector(signature: string): Uint8Array {
  return keccak(utf8(signature)).subarray(0, 4);
}

const COMMITMENT_OF = selector("commitmentOf(uint48)");
const ACTIVE_ROOT = selector("activeRoot()");
const NOT_IN_RING = [selector("UnknownBatch(uint48)"), selector("Grouped(uint48)")];
const BATCH_COMMITTED = keccak(utf8("BatchCommitted(uint48,bytes26)"));
const BATCHES_COMMITTED = keccak(utf8("BatchesCommitted(uint48,bytes)"));
const WORD = 32;

/** The contracts behind one node. Nothing that it says is kept: a chain may be reorganised. */
export class Chain {
  private readonly node: Node;
  private readonly address: Hex;
  private rightChain: Promise<void> | null = null;

  constructor(readonly options: ChainOptions) {
    integer("chainId", record("options", options).chainId);
    whole("firstBlock", options.firstBlock ?? 0, 0, Number.MAX_SAFE_INTEGER);
    this.node = new Node(options.rpc);
    this.address = hex(octets("dataBatches", options.dataBatches, 20));
  }

  /** Throws WrongChain, ChainUnavailable. */
  async requireChain(): Promise<void> {
    this.rightChain ??= this.compareChain();
    try {
      await this.rightChain;
    } catch (error) {
      this.rightChain = null; // it is asked again: the node may be back
      throw error;
    }
  }

  private async compareChain(): Promise<void> {
    const found = await this.node.chainId();
    if (found !== BigInt(this.options.chainId)) {
      throw new WrongChain(`the node is on chain ${found}, not on ${this.options.chainId}`);
    }
  }

  /** 26 bytes. Throws UnknownBatch, ChainUnavailable, WrongChain. */
  async commitmentOf(batch: number, block: number | null = null): Promise<Uint8Array> {
    return (await this.commitmentsOf(new Map([[batch, block]]))).get(batch)!;
  }

  /** The commitments of many batches: from the ring, or from the log if they are older or were
   * committed in a group. Throws UnknownBatch, ChainUnavailable, WrongChain. */
  async commitmentsOf(batches: Hints): Promise<Commitments> {
    await this.requireChain();
    const asked = [...batches.keys()];
    const calls = asked.map((batch) =>
      viewCall(this.address, concat(COMMITMENT_OF, uint(batch, WORD))),
    );
    const known = new Map<number, Uint8Array>();
    for (const [i, result] of (await this.node.callMany(calls)).entries()) {
      const word = await this.ringWord(result);
      if (word) known.set(asked[i]!, word);
    }
    const missing = asked.filter((batch) => !known.has(batch));
    if (missing.length) await this.lookInLog(missing, batches, known);
    return known;
  }

  /** A commitment of the ring; null when only the log has it. */
  private async ringWord(result: unknown): Promise<Uint8Array | null> {
    if (result instanceof NodeRefusal) return notInRing(result);
    const word = nodeOctets(result, "a commitment");
    if (word.length !== WORD || !isZero(word.subarray(26))) {
      await this.requireCode();
      throw new ChainUnavailable(`the node sent ${word.length} bytes as a commitment`);
    }
    return word.subarray(0, 26);
  }

  private async requireCode(): Promise<void> {
    if (!(await this.node.hasCode(this.address))) {
      throw new WrongChain(`there is no DataBatches at ${this.address} on this chain`);
    }
  }

  private async lookInLog(
    missing: readonly number[],
    hints: Hints,
    known: Map<number, Uint8Array>,
  ): Promise<void> {
    const head = await this.node.head();
    const blocks = new Set(missing.map((batch) => hints.get(batch)));
    for (const block of blocks) {
      if (typeof block === "number" && block <= head) await this.keep(known, block, block, []);
    }
    let rest = missing.filter((batch) => !known.has(batch)).sort((one, two) => one - two);
    while (rest.length) {
      await this.search(rest, head, hints, known);
      rest = rest.filter((batch) => !known.has(batch));
    }
  }

  /** The first ones of `missing`, from all logs. Throws UnknownBatch. */
  private async search(
    missing: readonly number[],
    head: number,
    hints: Hints,
    known: Map<number, Uint8Array>,
  ): Promise<void> {
    const firsts = new Set<number>();
    const wanted: number[] = [];
    for (const batch of missing) {
      // A group is named by its first batch, which is at most MAX_GROUP − 1 before this one.
      for (let at = Math.max(1, batch - MAX_GROUP + 1); at <= batch; at++) firsts.add(at);
      wanted.push(batch);
      if (firsts.size > MAX_TOPICS - MAX_GROUP) break;
    }
    const topics = [...firsts].map((first) => hex(uint(first, WORD)));
    await this.keep(known, this.options.firstBlock ?? 0, head, [topics]);
    const lost = wanted.find((batch) => !known.has(batch));
    if (lost !== undefined) throw unknownBatch(lost, hints.get(lost) ?? null, head);
  }

  /** What the logs of some blocks commit to; a later log counts. */
  private async keep(
    known: Map<number, Uint8Array>,
    first: number,
    last: number,
    more: readonly unknown[],
  ): Promise<void> {
    const kinds = [BATCH_COMMITTED, BATCHES_COMMITTED].map(hex);
    for (const log of await this.node.logs(this.address, [kinds, ...more], first, last)) {
      for (const [batch, commitment] of commitmentsIn(log)) known.set(batch, commitment);
    }
  }

  /** (epoch, root) that is claimable now. Throws ChainUnavailable, WrongChain. */
  async activeRoot(): Promise<[epoch: number, root: Uint8Array]> {
    await this.requireChain();
    const token = hex(octets("coreToken", this.options.coreToken ?? "", 20));
    const call = viewCall(token, ACTIVE_ROOT);
    const found = nodeOctets(await this.node.call(call[0], ...call[1]), "the active root");
    if (found.length !== 2 * WORD) throw new ChainUnavailable("activeRoot: not two words");
    return [Number(readUint(found, 0, WORD)), found.subarray(WORD, WORD + 26)];
  }
}

/** Null where the contract says that the ring does not have the batch; else it throws. */
function notInRing(refusal: NodeRefusal): null {
  const reverted = revertData(refusal.data);
  if (!reverted?.length) {
    // Of the contract, or the node's own.
    throw /revert/i.test(refusal.reason) ? new Reverted(refusal.reason) : refusal;
  }
  const error = reverted.subarray(0, 4);
  if (NOT_IN_RING.some((known) => equal(known, error))) return null;
  throw new Reverted(`the contract reverted with ${hex(error)}`);
}

/** A node that has not come so far does not know what is there: it may in a moment. */
function unknownBatch(batch: number, said: number | null, head: number): Error {
  if (said === null || said <= head) return new UnknownBatch(batch);
  return new ChainUnavailable(
    `batch ${batch} is said to be in block ${said}, the node has seen block ${head}: ` +
      "ask again when it has",
  );
}

/** (batch id, commitment) of what a log commits to. Throws ChainUnavailable: a log of the contract
 * is always in the shape that the contract writes. */
function commitmentsIn({ topics, data }: Log): [number, Uint8Array][] {
  const [kind, id] = topics;
  if (topics.length !== 2 || !kind || !id || !isZero(id.subarray(0, 26))) throw oddLog();
  const batch = Number(readUint(id));
  if (equal(kind, BATCH_COMMITTED)) {
    if (data.length !== WORD || !isZero(data.subarray(26))) throw oddLog();
    return [[batch, data.subarray(0, 26)]];
  }
  if (!equal(kind, BATCHES_COMMITTED)) throw oddLog();
  return groupIn(batch, data);
}

function groupIn(first: number, data: Uint8Array): [number, Uint8Array][] {
  if (data.length < 2 * WORD || readUint(data, 0, WORD) !== BigInt(WORD)) throw oddLog();
  const size = Number(readUint(data, WORD, 2 * WORD));
  const content = data.subarray(2 * WORD);
  if (size % 26 || first + size / 26 > 2 ** 48) throw oddLog();
  if (content.length !== Math.ceil(size / WORD) * WORD || !isZero(content.subarray(size))) {
    throw oddLog();
  }
  return cut(content.subarray(0, size), 26).map((commitment, i) => [first + i, commitment]);
}

function oddLog(): ChainUnavailable {
  return new ChainUnavailable("the node sent a log in a shape of its own");
}
