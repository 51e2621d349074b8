/** The user's own node, asked by JSON-RPC. What it says is input: what is not of the form that the
 * specification gives is ChainUnavailable, and an error object is NodeRefusal. */

import { hex, unhex, type Hex } from "./bytes.js";
import { ChainUnavailable, InvalidValue, NodeRefusal, shown } from "./errors.js";
import { parseJson } from "./json.js";

/** What wallets put on a page (EIP-1193), and what viem's and ethers' clients have. */
export interface Eip1193Provider {
  request(asked: { method: string; params?: readonly unknown[] }): Promise<unknown>;
}

/** A node: its URL, or a provider. */
export type RpcLike = string | URL | Eip1193Provider;

export interface Log {
  readonly topics: readonly Uint8Array[];
  readonly data: Uint8Array;
}

/** A method and its parameters. */
export type Call = readonly [method: string, params: readonly unknown[]];

const TIMEOUT_MS = 30_000;
/** Calls in one HTTP request: the smallest limit that hosted providers are known to set. */
const BATCH_CALLS = 100;
/** Single calls that are under way at once, where a node takes no batches. */
const AT_ONCE = 16;
/** Blocks of the first eth_getLogs: what most hosted providers allow. */
const FIRST_RANGE_BLOCKS = 10_000;
const MAX_RANGE_BLOCKS = 1_000_000;
const RATE_LIMITED = /rate.?limit|too many requests|capacity exceeded|requests? per second/i;

function odd(value: unknown, what: string): ChainUnavailable {
  return new ChainUnavailable(`the node sent ${shown(value)} as ${what}`);
}

/** A number in hexadecimal. Throws ChainUnavailable. */
export function quantity(raw: unknown, what: string): bigint {
  if (typeof raw !== "string" || !/^0x[0-9a-fA-F]{1,64}$/.test(raw)) throw odd(raw, what);
  return BigInt(raw);
}

/** Bytes in hexadecimal, of a size when one is given. Throws ChainUnavailable. */
export function nodeOctets(raw: unknown, what: string, size?: number): Uint8Array {
  if (typeof raw !== "string" || !/^0x([0-9a-fA-F]{2})*$/.test(raw)) throw odd(raw, what);
  const bytes = unhex(raw);
  if (size !== undefined && bytes.length !== size) throw odd(raw, what);
  return bytes;
}

/** JSON-RPC behind a URL, or a provider. No retries here. */
export class Node {
  private ids = 0;
  private takesBatches: boolean;

  constructor(private readonly rpc: RpcLike) {
    this.takesBatches = typeof rpc === "string" || rpc instanceof URL;
    if (!this.takesBatches && typeof (rpc as Eip1193Provider | null)?.request !== "function") {
      throw new InvalidValue("rpc", rpc, "takes the URL of a node, or an EIP-1193 provider");
    }
  }

  /** The result. Throws ChainUnavailable, NodeRefusal. */
  async call(method: string, ...params: readonly unknown[]): Promise<unknown> {
    if (typeof this.rpc === "object" && "request" in this.rpc) {
      try {
        return await this.rpc.request({ method, params });
      } catch (error) {
        throw refusal(method, error);
      }
    }
    const request = this.request(method, params);
    const result = outcome(method, await post(this.rpc, method, request), request.id);
    if (result instanceof NodeRefusal) throw result;
    return result;
  }

  /** Results in order; a refused call stands as its NodeRefusal. Where the node takes no batches,
   * one request a call. Throws ChainUnavailable. */
  async callMany(calls: readonly Call[]): Promise<unknown[]> {
    const found: unknown[] = [];
    while (found.length < calls.length) {
      const size = this.takesBatches ? BATCH_CALLS : AT_ONCE;
      const some = calls.slice(found.length, found.length + size);
      const answers = this.takesBatches && some.length > 1 ? await this.batch(some) : null;
      found.push(...(answers ?? (await this.each(some))));
    }
    return found;
  }

  private each(calls: readonly Call[]): Promise<unknown[]> {
    return Promise.all(
      calls.map(([method, params]) =>
        this.call(method, ...params).catch((error: unknown) => {
          if (error instanceof NodeRefusal) return error;
          throw error;
        }),
      ),
    );
  }

  /** Null where the node takes no batches, or is away, which asking singly shows. */
  private async batch(calls: readonly Call[]): Promise<unknown[] | null> {
    const requests = calls.map(([method, params]) => this.request(method, params));
    const answers = await post(this.rpc as string | URL, "batch", requests).catch(() => null);
    if (!Array.isArray(answers)) {
      this.takesBatches = false;
      return null;
    }
    const byId = new Map(answers.map((answer: { id?: unknown } | null) => [answer?.id, answer]));
    return requests.map(({ id, method }) => outcome(method, byId.get(id), id));
  }

  private request(method: string, params: readonly unknown[]) {
    return { jsonrpc: "2.0", id: this.ids++, method, params };
  }

  async chainId(): Promise<bigint> {
    return quantity(await this.call("eth_chainId"), "a chain id");
  }

  /** The number of the newest block. */
  async head(): Promise<number> {
    return Number(quantity(await this.call("eth_blockNumber"), "a block number"));
  }

  async hasCode(address: Hex): Promise<boolean> {
    return nodeOctets(await this.call("eth_getCode", address, "latest"), "code").length > 0;
  }

  /** Logs of a contract in the blocks first to last, in pieces that are halved while the node
   * refuses them. Throws ChainUnavailable, also when it refuses a single block. */
  async logs(
    address: Hex,
    topics: readonly unknown[],
    first: number,
    last: number,
  ): Promise<Log[]> {
    const found: Log[] = [];
    let start = first;
    let step = FIRST_RANGE_BLOCKS;
    let most = MAX_RANGE_BLOCKS;
    while (start <= last) {
      const end = Math.min(start + step - 1, last);
      try {
        found.push(...(await this.logsAtOnce(address, topics, start, end)));
      } catch (error) {
        // Refusals for size have as many words and statuses as there are providers.
        if (!(error instanceof ChainUnavailable) || start === end) throw error;
        step = most = Math.max(1, Math.floor((end - start + 1) / 2));
        continue;
      }
      start = end + 1;
      step = Math.min(2 * step, most);
    }
    return found;
  }

  private async logsAtOnce(
    address: Hex,
    topics: readonly unknown[],
    first: number,
    last: number,
  ): Promise<Log[]> {
    const [fromBlock, toBlock] = [first, last].map((block) => `0x${block.toString(16)}`);
    const raw = await this.call("eth_getLogs", { address, topics, fromBlock, toBlock });
    if (!Array.isArray(raw)) throw odd(raw, "logs");
    return raw.map((log) => readLog(log, address, first, last));
  }
}

function readLog(raw: unknown, address: Hex, first: number, last: number): Log {
  const log = (typeof raw === "object" && raw ? raw : {}) as Record<string, unknown>;
  const from = hex(nodeOctets(log.address, "a log's address", 20));
  const block = quantity(log.blockNumber, "a log's block");
  if (log.removed || !Array.isArray(log.topics)) throw odd(raw, "a log");
  if (from !== address || block < first || block > last) {
    throw new ChainUnavailable(`the node sent a log nobody asked for, of block ${block}`);
  }
  return {
    topics: log.topics.map((topic) => nodeOctets(topic, "a topic", 32)),
    data: nodeOctets(log.data, "the data of a log"),
  };
}

async function post(url: string | URL, method: string, request: unknown): Promise<unknown> {
  let status: number;
  let answer: unknown;
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    status = response.status;
    answer = parseJson(await response.text());
  } catch (error) {
    throw new ChainUnavailable(`${method}: no usable answer from the node`, { cause: error });
  }
  // A refusal of a call may come with another 4xx.
  if (status === 429 || status >= 500) throw new ChainUnavailable(`${method}: HTTP ${status}`);
  return answer;
}

/** The result, or the node's refusal. Throws ChainUnavailable. */
function outcome(method: string, answer: unknown, id: number): unknown {
  if (typeof answer !== "object" || answer === null) {
    throw new ChainUnavailable(`${method}: the answer is no JSON-RPC object`);
  }
  const { error, result, id: answered } = answer as Record<string, unknown>;
  if (error !== undefined && error !== null) {
    const refused = refusal(method, error);
    if (refused instanceof NodeRefusal) return refused;
    throw refused;
  }
  if (result === undefined) throw new ChainUnavailable(`${method}: neither result nor error`);
  if (answered !== id) throw new ChainUnavailable(`${method}: the node answered another request`);
  return result;
}

/** The error object of a node or a provider, as ours. */
function refusal(method: string, raw: unknown): ChainUnavailable {
  const error = (typeof raw === "object" && raw ? raw : {}) as Record<string, unknown>;
  if (typeof error.message !== "string" || RATE_LIMITED.test(error.message)) {
    return new ChainUnavailable(`${method}: ${shown(error.message ?? raw)}`, { cause: raw });
  }
  const code = typeof error.code === "number" ? error.code : 0;
  return new NodeRefusal(method, code, error.message, error.data);
}

/** A view as a JSON-RPC call. */
export function viewCall(to: Hex, data: Uint8Array): Call {
  return ["eth_call", [{ to, data: hex(data) }, "latest"]];
}

/** What a contract reverted with, from the `data` of a node's error: hex, hex behind a word
 * (Nethermind), or an object that holds it (Hardhat). Null for nothing of these. */
export function revertData(data: unknown): Uint8Array | null {
  if (typeof data === "object" && data) return revertData((data as Record<string, unknown>).data);
  const digits = typeof data === "string" ? /0x((?:[0-9a-fA-F]{2})*)$/.exec(data) : null;
  return digits ? unhex(digits[1]!) : null;
}
