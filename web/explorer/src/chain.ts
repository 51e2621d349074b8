/** The user's own node: which one, whether it is of the right chain, and what contracts say. */

import { Chain, hex, keccak } from "@corechain/verify";
import { get, type Network } from "./api";
import { nodeUrl, pin, pinned, serverAt } from "./settings";
import { Store } from "./store";

export type NodeState =
  | { kind: "none" }
  | { kind: "asking"; url: string }
  | { kind: "ready"; url: string; head: number; chain: Chain }
  | { kind: "wrong"; url: string; why: string };

export const network = new Store<Network | null>(null);
export const node = new Store<NodeState>({ kind: "none" });
/** Contracts that the API now names otherwise than when this browser first saw them. */
export const moved = new Store<string[]>([]);

const TIMEOUT_MS = 15_000;
const LOOK_MS = 12_000;
/** A node that is away is looked for more often: values wait for it. */
const AWAY_LOOK_MS = 3_000;

/** No answer came from the node: it is away, or refuses for now. */
export class NodeAway extends Error {}

/** A JSON-RPC result. Throws NodeAway. */
export async function rpc(url: string, method: string, params: unknown[] = []): Promise<unknown> {
  let answer: { result?: unknown; error?: { message?: string } } | null;
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      credentials: "omit",
    });
    answer = (await response.json()) as typeof answer;
  } catch {
    throw new NodeAway(`${hostOf(url)} does not answer as a node, or does not allow this page to ask it`);
  }
  if (typeof answer !== "object" || answer === null) throw new NodeAway(`${hostOf(url)} does not answer as a node`);
  if (answer.error) throw new NodeAway(`the node refused ${method}: ${answer.error.message ?? "no reason given"}`);
  return answer.result;
}

function hostOf(url: string): string {
  return serverAt(url)?.host ?? url;
}

/** A number as nodes write it. Throws NodeAway. */
async function numberFrom(url: string, method: string): Promise<number> {
  const found = await rpc(url, method);
  if (typeof found !== "string" || !/^0x[0-9a-f]{1,13}$/i.test(found)) throw new NodeAway(`${hostOf(url)} does not answer ${method} as a node`);
  return Number(found);
}

/** A view of a contract at a block: its words of 32 bytes, as numbers. */
export async function view(at: number, contract: string, signature: string, ...words: string[]): Promise<bigint[]> {
  const state = node.value;
  if (state.kind !== "ready") throw new NodeAway("no node of yours answers");
  const selector = hex(keccak(new TextEncoder().encode(signature)).subarray(0, 4));
  const data = selector + words.map((word) => word.replace(/^0x/, "").padStart(64, "0")).join("");
  const result = String(await rpc(state.url, "eth_call", [{ to: address(contract), data }, `0x${at.toString(16)}`]));
  return (result.slice(2).match(/.{64}/g) ?? []).map((word) => BigInt(`0x${word}`));
}

/** By this browser's memory; by the API's word only at the first visit. */
export function address(contract: string): string {
  const known = network.value;
  if (known === null) throw new Error("the network is not known yet");
  const found = pinned(known.chain_id)?.[contract] ?? known.contracts[contract]?.address;
  if (found === undefined) throw new Error(`this network has no ${contract}`);
  return found;
}

export async function learnNetwork(): Promise<void> {
  const told = await get<Network>("v1/network");
  const contracts = Object.fromEntries(Object.entries(told.contracts).map(([name, { address: at }]) => [name, at]));
  const before = pinned(told.chain_id);
  if (before === null) pin(told.chain_id, contracts);
  else moved.set(Object.keys(before).filter((name) => contracts[name] !== undefined && contracts[name] !== before[name]));
  network.set(told);
}

/** The URL in use: the user's, else what the API proposes (the development network's own). */
export const nodeInUse = (): string => nodeUrl.value ?? network.value?.rpc_url ?? "";

let looking = 0;

/** Looks at the node: does it answer, and is it on the chain of the contracts? */
export async function lookAtNode(): Promise<void> {
  const [url, told, mine] = [nodeInUse(), network.value, ++looking];
  if (told === null) return;
  if (url === "") return node.set({ kind: "none" });
  const before = node.value;
  if (before.kind === "none" || before.url !== url) node.set({ kind: "asking", url });
  const found = await stateOf(url, told, before);
  if (mine === looking) node.set(found);
}

async function stateOf(url: string, told: Network, before: NodeState): Promise<NodeState> {
  try {
    const [id, head] = await Promise.all([numberFrom(url, "eth_chainId"), numberFrom(url, "eth_blockNumber")]);
    if (id !== told.chain_id) {
      return { kind: "wrong", url, why: `It is on chain ${id}; this index follows chain ${told.chain_id}.` };
    }
    const kept = before.kind === "ready" && before.url === url ? before.chain : null;
    return { kind: "ready", url, head, chain: kept ?? chainOf(url, told) };
  } catch (error) {
    return { kind: "wrong", url, why: (error as Error).message };
  }
}

function chainOf(url: string, told: Network): Chain {
  return new Chain({
    rpc: url,
    chainId: told.chain_id,
    dataBatches: address("DataBatches"),
    coreToken: address("CoreToken"),
    firstBlock: told.contracts.DataBatches?.block ?? 0,
  });
}

/** Forgets what the node has said of commitments: after a reorganisation. */
export function askAnew(): void {
  const [state, told] = [node.value, network.value];
  if (state.kind === "ready" && told) node.set({ ...state, chain: chainOf(state.url, told) });
}

/** Keeps the look fresh for as long as the page is open. */
export function watchNode(): void {
  nodeUrl.watch(() => void lookAtNode());
  network.watch(() => void lookAtNode());
  for (const event of ["online", "visibilitychange"]) addEventListener(event, () => document.hidden || void lookAtNode(), true);
  void lookAgain();
}

async function lookAgain(): Promise<void> {
  if (!document.hidden) await lookAtNode();
  setTimeout(() => void lookAgain(), node.value.kind === "wrong" ? AWAY_LOOK_MS : LOOK_MS);
}
