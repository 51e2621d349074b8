/** Disputes of a batch: demands for its data and proven frauds, from the user's own node, not from the API. */

import { hex, keccak } from "@corechain/verify";
import type { Batch } from "./api";
import { address, node, rpc } from "./chain";

export interface Dispute {
  key: string;
  block: number;
  words: string;
  isBad: boolean;
}

interface Log {
  topics: string[];
  blockNumber: string;
  logIndex: string;
}

const topic = (signature: string) => hex(keccak(new TextEncoder().encode(signature)));
const FRAUD = topic("FraudProven(uint48,uint8,address)");
const DEMANDED = topic("Demanded(bytes32,uint48,uint8,bytes26,bytes32,uint40)");
const UNANSWERED = topic("Unanswered(bytes32)");

/** null while no node answers. Throws Error with a sentence. */
export async function disputesOf(batch: Batch): Promise<Dispute[] | null> {
  const state = node.value;
  if (state.kind !== "ready") return null;
  const id = `0x${batch.batch_id.toString(16).padStart(64, "0")}`;
  const ask = async (topics: unknown[]) => {
    const filter = { address: address("DataBatches"), fromBlock: `0x${batch.block.toString(16)}`, toBlock: "latest", topics };
    return (await rpc(state.url, "eth_getLogs", [filter])) as Log[];
  };
  const [frauds, demands] = await Promise.all([ask([FRAUD, id]), ask([DEMANDED, null, id])]);
  const late = demands.length ? await ask([UNANSWERED, demands.map(({ topics }) => topics[1])]) : [];
  return [...demands.map((log) => told(log, "Data demanded", false)), ...late.map((log) => told(log, "Not answered in time: challenged", true)), ...frauds.map((log) => told(log, "Fraud proven: challenged", true))];
}

function told(log: Log, words: string, isBad: boolean): Dispute {
  return { key: `${log.blockNumber}.${log.logIndex}`, block: Number(log.blockNumber), words, isBad };
}
