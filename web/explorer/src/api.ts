/** The query API: its answers as it gives them. Nothing here is believed; `proofs.ts` checks it. */

import { useEffect, useState } from "preact/hooks";
import { parseJson } from "@corechain/verify";
import { API } from "./settings";

export interface Network {
  chain_id: number;
  contracts: Record<string, { address: string; block: number }>;
  rpc_url: string | null;
}
export interface Status {
  chain_id: number;
  node_answers: boolean;
  head_block: number | null;
  indexed_block: number;
  lag_blocks: number | null;
  safe_block: number;
  final_block: number;
  batches: Record<string, number>;
  readings: number;
  rejections: number;
}
export type Finality = "pending" | "safe" | "finalised";
export interface Device {
  device: string;
  owner: string;
  key_type: number;
  revoked: boolean;
  revoked_at: number | null;
  block: number;
  finality: Finality;
  provenance: string;
}
export interface Newest {
  metric: number;
  observed_at: number;
  value: number;
  flag: number;
  cell: string;
  batch_id: number;
  position: number;
  finality: Finality;
}
/** A device that has readings; `newest` of the metric that was asked for. */
export interface Station {
  device: string;
  cell: string;
  revoked: boolean;
  provenance: string;
  newest: Newest | null;
}
export interface Stations extends Page<Station> {
  metrics: number[];
}
export interface Reading extends Newest {
  device: string;
}
export interface Bucket {
  start: number;
  count: number;
  mean: number;
  sum: number;
  min: number;
  max: number;
}
export interface Series {
  metric: number;
  bucket: number;
  items: Bucket[];
  next_from: number | null;
}
export interface Header {
  reading_count: number;
  report_count: number;
  window_start: number;
  window_end: number;
  data_hash: string;
  rules_hash: string;
  statistics_root: string;
  reports_root: string;
}
export interface Batch {
  batch_id: number;
  state: "pending" | "verified" | "withheld" | "mismatch";
  commitment: string;
  block: number;
  finality: Finality;
  transaction: string;
  reason: string | null;
  header: Header | null;
  readings_root: string | null;
  rejected_count: number | null;
}
export interface Rejection {
  ordinal: number;
  device: string;
  sequence: string;
  metric: number;
  cell: string;
  observed_at: number;
  value: number;
  reasons: string[];
}
export interface Epoch {
  epoch: number;
  root: string;
  through_block: number;
  emission: string;
  active_at: number;
  block: number;
  finality: Finality;
  state: string;
  bridge_weight_bps: number;
}
export interface Reward {
  owner: string;
  epoch: number;
  root: string;
  cumulative: string;
  claimed: string;
  position: number;
  proof: string[];
}
export interface Channel {
  channel_id: string;
  payer: string;
  receiver: string;
  token: string;
  withdraw_delay: number;
  balance: string;
  claimed: string;
  block: number;
}
export interface StateChannel {
  channel_id: string;
  party_a: string;
  party_b: string;
  challenge_period: number;
  state: "open" | "challenged" | "closed";
  deposit: string;
  balance_a: string;
  version: number;
  deadline: number;
  block: number;
}
export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

/** A refusal of the API, by its problem details, or an API that does not answer (status 0). */
export class ApiProblem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    detail: string,
  ) {
    super(detail);
  }

  /** Away, too slow, or asked too much: none of it says anything of what was asked for. */
  get mayPass(): boolean {
    return this.status === 0 || this.status === REQUEST_TIMEOUT || this.status === TOO_MANY || this.status >= SERVER_ERROR;
  }
}

const REQUEST_TIMEOUT = 408;
const TOO_MANY = 429;
const SERVER_ERROR = 500;
/** A status that no server sends: a mistake of this page. */
const IN_THE_PAGE = -1;

const TIMEOUT_MS = 30_000;

/** The text of an answer. Throws ApiProblem. */
export async function ask(path: string): Promise<string> {
  const url = new URL(path.replace(/^\//, ""), API);
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), credentials: "omit" });
    text = await response.text(); // which may break off, too
  } catch {
    throw new ApiProblem(0, "The API does not answer", `Nothing came from ${url.origin}. Is it running, and does it allow this page?`);
  }
  if (response.ok) return text;
  throw problem(response.status, text);
}

function problem(status: number, text: string): ApiProblem {
  try {
    const { title, detail } = JSON.parse(text) as Record<string, unknown>;
    const words = [title ?? "The API refused", detail ?? `HTTP ${status}`] as const;
    return new ApiProblem(status, ...(words.map(String) as [string, string]));
  } catch {
    return new ApiProblem(status, "The API refused", `HTTP ${status}`);
  }
}

/** Throws ApiProblem. Sums over 2^53 are kept whole by the checks, which read the text themselves. */
export async function get<T>(path: string): Promise<T> {
  const text = await ask(path);
  try {
    return JSON.parse(text) as T;
  } catch {
    // A page of whoever stands before the API.
    throw new ApiProblem(0, "The API does not answer", `What came from ${API.origin} is no answer of an API.`);
  }
}

export { parseJson };

const MOST_PAGES = 1_000;

/** All pages of a list, up to a number of items. */
export async function all<T>(path: string, most: number): Promise<T[]> {
  const found: T[] = [];
  let cursor: string | null = null;
  let before: string | null;
  let pages = 0;
  do {
    before = cursor;
    const more = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const page: Page<T> = await get(`${path}${path.includes("?") ? "&" : "?"}limit=1000${more}`);
    found.push(...page.items);
    cursor = page.next_cursor;
    // A list that leads back to itself, or on and on to nothing, would be read for ever.
  } while (cursor !== null && cursor !== before && found.length < most && ++pages < MOST_PAGES);
  return found;
}

export type Loaded<T> = { data?: T; error?: ApiProblem; loading: boolean };

const AGAIN_MS = 3_000;

/** What `load` gives, loaded anew when a key changes, and while the API does not answer; the last data stay while
 * new ones come. */
export function useLoaded<T>(load: () => Promise<T>, keys: readonly unknown[]): Loaded<T> {
  const [state, setState] = useState<Loaded<T>>({ loading: true });
  useEffect(() => {
    let isWanted = true;
    let waiting: number | undefined;
    const failed = (problem: ApiProblem): void => {
      setState((before) => ({ ...before, loading: false, error: problem }));
      if (problem.mayPass) waiting = window.setTimeout(attempt, AGAIN_MS);
    };
    const attempt = (): void =>
      void load().then(
        (data) => isWanted && setState({ data, loading: false }),
        (error: unknown) => isWanted && failed(error instanceof ApiProblem ? error : new ApiProblem(IN_THE_PAGE, "This page failed", String(error))),
      );
    setState((before) => ({ ...before, loading: true }));
    attempt();
    return () => {
      isWanted = false;
      clearTimeout(waiting);
    };
  }, keys);
  return state;
}
