/** Checks of what is shown, in this browser, against the user's own node: what, how it went, step by step. */

import { CoreChainError, verifyAnswer, type Chain, type Question, type Step, type ValueOf } from "@corechain/verify";
import { ApiProblem, ask } from "./api";
import { node, NodeAway } from "./chain";
import { Store } from "./store";

export type { Step };
export type Verdict =
  | { kind: "idle" | "running" }
  | { kind: "holds"; steps: readonly Step[] }
  /** The API's answer contradicts the chain, or its own proof. */
  | { kind: "fails"; steps: readonly Step[]; why: string; name: string }
  /** Nobody knows: the node or the API does not answer. `mayPass`: a later try may say more. */
  | { kind: "unknown"; steps: readonly Step[]; why: string; name: string; mayPass: boolean };

/** What is checked: `key` is the same for the same value at the same place. */
export interface Subject {
  key: string;
  /** "air temperature 18.90 °C of 0x52f1…" */
  title: string;
  check: (chain: Chain) => Promise<readonly Step[]>;
}

const IDLE: Verdict = { kind: "idle" };
const AT_ONCE = 4;
/** Of whom no more is remembered: marks that are shown again are checked again. */
const MOST_KEPT = 5_000;
/** Errors of the node or of the way to it: they say nothing against the API. */
const OF_THE_NODE = new Set(["ChainUnavailable", "WrongChain", "NodeRefusal", "Reverted"]);

const verdicts = new Map<string, Store<Verdict>>();
const titles = new Map<string, string>();
const queue: (() => Promise<void>)[] = [];
let running = 0;

/** Keys of what was found to be false, in order. */
export const lies = new Store<readonly string[]>([]);
export const opened = new Store<Subject | null>(null);
export const titleOf = (key: string): string => titles.get(key) ?? key;

export function verdictOf(key: string): Store<Verdict> {
  let found = verdicts.get(key);
  if (!found) {
    if (verdicts.size > MOST_KEPT) verdicts.clear();
    verdicts.set(key, (found = new Store<Verdict>(IDLE)));
  }
  return found;
}

/** The node's newest block is older than what is shown. */
export class NotYet extends Error {}

/** What a comparison of our own found: as a step of the others. */
export class Contradiction extends Error {
  constructor(
    readonly steps: readonly Step[],
    message: string,
  ) {
    super(message);
    this.name = "Contradiction";
  }
}

export function compared(steps: readonly Step[], text: string, shown: string, proven: string): Step[] {
  const holds = shown === proven;
  const step = {
    check: "question",
    text,
    holds,
    compared: { left: { what: "shown here", value: shown }, right: { what: "proven", value: proven } },
  } as Step;
  const taken = [...steps, step];
  if (!holds) throw new Contradiction(taken, `${text}: shown ${shown}, proven ${proven}`);
  return taken;
}

/** The value that an answer proves, with the steps. Throws what verifyAnswer throws, ApiProblem. */
export async function proven<Q extends Question>(
  chain: Chain,
  path: string,
  question: Q,
): Promise<{ value: ValueOf<Q>; steps: readonly Step[] }> {
  return verifyAnswer(await ask(path), { question, chain });
}

/** Checks once, and again only when it is asked for by hand. */
export function check(subject: Subject, again = false): void {
  const verdict = verdictOf(subject.key);
  const { kind } = verdict.value;
  if (kind === "running" || (kind !== "idle" && !again)) return;
  titles.set(subject.key, subject.title);
  verdict.set({ kind: "running" });
  queue.push(async () => verdict.set(await judged(subject)));
  next();
}

function next(): void {
  if (running >= AT_ONCE) return;
  const work = queue.shift();
  if (!work) return;
  running++;
  void work().finally(() => {
    running--;
    next();
  });
}

async function judged(subject: Subject): Promise<Verdict> {
  const state = node.value;
  if (state.kind !== "ready") return { kind: "unknown", steps: [], name: "NoNode", why: "No node of yours answers.", mayPass: true };
  try {
    const steps = await subject.check(state.chain);
    lies.change((keys) => keys.filter((key) => key !== subject.key));
    return { kind: "holds", steps };
  } catch (error) {
    const verdict = refused(error);
    if (verdict.kind === "fails") lies.change((keys) => (keys.includes(subject.key) ? keys : [...keys, subject.key]));
    return verdict;
  }
}

function refused(error: unknown): Verdict {
  const why = error instanceof Error ? error.message : String(error);
  if (error instanceof Contradiction) return { kind: "fails", steps: error.steps, name: "Contradiction", why };
  if (error instanceof CoreChainError) {
    const { name, steps } = error;
    if (OF_THE_NODE.has(name)) return { kind: "unknown", steps, name, why, mayPass: name === "ChainUnavailable" };
    return { kind: "fails", steps, name, why };
  }
  if (error instanceof NodeAway) return { kind: "unknown", steps: [], name: "ChainUnavailable", why, mayPass: true };
  if (!(error instanceof ApiProblem)) return { kind: "unknown", steps: [], name: "Error", why, mayPass: error instanceof NotYet };
  return { kind: "unknown", steps: [], name: error.title, why, mayPass: error.mayPass };
}

/** What could not be checked is open again, and its mark checks it: all of it when the node has come back, else what
 * failed for a reason that may have passed. */
export function openAgain(isBack: boolean): void {
  for (const verdict of verdicts.values()) {
    if (verdict.value.kind === "unknown" && (isBack || verdict.value.mayPass)) verdict.set(IDLE);
  }
  // Marks that wait to be pressed have been, where their steps are open.
  if (opened.value) check(opened.value);
}

/** All verdicts are of one node and one chain: with another, all is open again. */
export function forget(): void {
  queue.length = 0;
  lies.set([]);
  for (const verdict of verdicts.values()) verdict.set(IDLE);
}
