/** An answer of the query API, checked against the user's own node. */

import {
  batchesOf,
  byBatch,
  checkPage,
  checkPosition,
  checkProofs,
  checkWithin,
  located,
  verifyPage,
  verifyReading,
  verifyStatistics,
} from "./answers.js";
import { equal, hex, octets, type Hex } from "./bytes.js";
import { Chain, type ChainOptions, type Commitments, type Hints } from "./chain.js";
import { readDocument, type Documents } from "./documents.js";
import { InvalidProof, InvalidValue, MalformedAnswer, RangeIncomplete, WrongAnswer } from "./errors.js";
import { commitmentOf, type Header } from "./header.js";
import { parseJson } from "./json.js";
import {
  batchOf,
  boundsOf,
  positionOf,
  windowOf,
  type BatchQuestion,
  type Question,
  type ReadingQuestion,
  type ReadingsQuestion,
  type RegionQuestion,
  type RewardQuestion,
  type StatisticsQuestion,
} from "./questions.js";
import type { LocatedReading } from "./reading.js";
import { verifyClaim } from "./rewards.js";
import type { Statistics } from "./statistics.js";
import { Steps, bytesCompared, type Step } from "./steps.js";
import { record } from "./values.js";
import { metricOf, type Metric } from "./vocabulary.js";

/** Statistics in the metric's own unit beside the scaled ones. With count 0, null. */
export interface ProvenStatistics extends Statistics {
  readonly metric: Metric;
  readonly mean: number | null;
  readonly least: number | null;
  readonly greatest: number | null;
}

export interface ProvenPage {
  readonly readings: readonly LocatedReading[];
  readonly nextCursor: string | null;
}

export interface ProvenReward {
  readonly owner: Hex;
  readonly epoch: number;
  /** All that the owner has ever earned, base units. */
  readonly cumulative: bigint;
}

/** `header` is null of a batch that the index has not verified: only its commitment is proven. */
export interface ProvenBatch {
  readonly batchId: number;
  readonly commitment: Hex;
  readonly header: Header | null;
}

interface Values {
  reading: LocatedReading;
  readings: ProvenPage;
  statistics: ProvenStatistics;
  region: ProvenStatistics;
  reward: ProvenReward;
  batch: ProvenBatch;
}

/** What an answer to a question proves. */
export type ValueOf<Q extends Question> = Values[Q["kind"]];

export interface Verified<V> {
  readonly value: V;
  /** What was compared, in order; all of them hold. */
  readonly steps: readonly Step[];
}

export type VerifyOptions<Q extends Question> = { readonly question: Q } & (
  | ChainOptions
  | { readonly chain: Chain }
);

/** Checks an answer of the query API against the user's own node.
 *
 * `answer` is the text of the body, or the value that `parseJson` made of it. The contracts are
 * named by the deployment's manifest, never by the API. Throws MalformedAnswer, WrongAnswer,
 * InvalidProof, RangeIncomplete, UnknownBatch (the answer is wrong); WrongChain, ChainUnavailable
 * (the node is); InvalidValue and the like (the question is). The error's `steps` say how far it
 * came, and what did not hold. */
export async function verifyAnswer<Q extends Question>(
  answer: unknown,
  options: VerifyOptions<Q>,
): Promise<Verified<ValueOf<Q>>> {
  record("question", record("options", options).question);
  const chain = "chain" in options ? options.chain : new Chain(options);
  const steps = new Steps();
  const document = typeof answer === "string" ? parseJson(answer) : answer;
  const value = await new Verification(chain, steps).of(document, options.question);
  return { value: value as ValueOf<Q>, steps: steps.taken };
}

class Verification {
  constructor(
    private readonly chain: Chain,
    private readonly steps: Steps,
  ) {}

  of(document: unknown, question: Question): Promise<Values[keyof Values]> {
    switch (question.kind) {
      case "reading":
        return this.reading(document, question);
      case "readings":
        return this.readings(document, question);
      case "statistics":
      case "region":
        return this.statistics(document, question);
      case "reward":
        return this.reward(document, question);
      case "batch":
        return this.batch(document, question);
      default:
        throw new InvalidValue("question", question, "has a kind that is not known here");
    }
  }

  private read<K extends keyof Documents>(kind: K, document: unknown): Documents[K] {
    return this.steps.run("shape", "The answer has the documented shape", {}, () =>
      readDocument(kind, document),
    );
  }

  private async commitments(batches: Hints): Promise<Commitments> {
    const { chainId, dataBatches } = this.chain.options;
    const on = `chain ${chainId}`;
    await this.steps.wait("chain", `Your node is on ${on}`, {}, () => this.chain.requireChain());
    const contract = hex(octets("dataBatches", dataBatches, 20));
    const text = `Ask your node for ${batches.size} commitments of ${contract}`;
    return this.steps.wait("commitment", text, {}, () => this.chain.commitmentsOf(batches));
  }

  private async reading(document: unknown, question: ReadingQuestion): Promise<LocatedReading> {
    const [batchId, position] = [batchOf(question), positionOf(question)];
    const answer = this.read("readingProof", document);
    const text = `The proof is of position ${position}, which was asked for`;
    this.steps.run("question", text, { batchId }, () => checkPosition(answer.position, position));
    const commitments = await this.commitments(new Map([[batchId, answer.block]]));
    return verifyReading(answer, question, commitments, this.steps);
  }

  private async readings(document: unknown, question: ReadingsQuestion): Promise<ProvenPage> {
    const answer = this.read("readings", document);
    const rows = answer.items.map(located);
    const proofs = new Map(answer.proofs.map((proof) => [proof.batch_id, proof]));
    if (proofs.size !== answer.proofs.length) throw new MalformedAnswer("two proofs of one batch");
    this.steps.run("question", "All readings were asked for, and are in order", {}, () =>
      checkPage(rows, answer.next_cursor, question),
    );
    this.steps.run("question", "Each batch of the page comes with one proof", {}, () =>
      checkProofs(rows, proofs),
    );
    const hints = new Map([...byBatch(rows).keys()].map((batch) => [batch, proofs.get(batch)!.block]));
    const commitments = await this.commitments(hints);
    verifyPage(rows, proofs, commitments, this.steps);
    return { readings: rows, nextCursor: answer.next_cursor };
  }

  private async statistics(
    document: unknown,
    question: StatisticsQuestion | RegionQuestion,
  ): Promise<ProvenStatistics> {
    const [bounds, window] = [boundsOf(question), windowOf(question)];
    const answer = this.read("statistics", document);
    const commitments = await this.commitments(batchesOf(answer));
    this.steps.run("question", "Leaves are shown of batches that reach beyond the window alone", {}, () => {
      if (question.kind === "region") checkWithin(answer, window);
      else if (answer.disclosed.length) {
        throw new RangeIncomplete("leaves are shown where only range proofs were asked for");
      }
    });
    const proven = verifyStatistics(answer, bounds, window, commitments, this.steps);
    return inUnit(metricOf(question.metric), proven);
  }

  private async reward(document: unknown, question: RewardQuestion): Promise<ProvenReward> {
    const wanted = octets("owner", question.owner, 20);
    const answer = this.read("reward", document);
    this.steps.run("question", "The claim is of the owner that was asked for", {}, () => {
      if (!equal(answer.owner, wanted)) {
        throw new WrongAnswer(`the claim of ${hex(answer.owner)}, not of ${hex(wanted)}`);
      }
    });
    const [epoch, root] = await this.steps.wait("root", "Ask your node for the active root", {}, () =>
      this.chain.activeRoot(),
    );
    const claim = { ...answer, cumulative: BigInt(answer.cumulative) };
    const text = `The claim is under the root ${hex(root)} of epoch ${epoch} on chain`;
    this.steps.run("inclusion", text, {}, () => verifyClaim(root, claim));
    return { owner: hex(wanted), epoch, cumulative: claim.cumulative };
  }

  private async batch(document: unknown, question: BatchQuestion): Promise<ProvenBatch> {
    const batchId = batchOf(question);
    const answer = this.read("batch", document);
    const { header, readings_root: root } = answer;
    this.steps.run("question", `The answer is of batch ${batchId}`, { batchId }, () => {
      if (answer.batch_id !== batchId || (header && header.batchId !== batchId)) {
        throw new WrongAnswer(`batch ${answer.batch_id}, not ${batchId}`);
      }
      if (!header !== !root) throw new MalformedAnswer("a header without its root, or the reverse");
    });
    const word = (await this.commitments(new Map([[batchId, answer.block]]))).get(batchId)!;
    this.compareWord(batchId, "shown", answer.commitment, word);
    if (header && root) this.compareWord(batchId, "computed from the header", commitmentOf(header, root), word);
    return { batchId, commitment: hex(word), header };
  }

  private compareWord(batchId: number, what: string, left: Uint8Array, word: Uint8Array): void {
    this.steps.compare(
      what === "shown" ? "commitment" : "header",
      `The commitment of batch ${batchId} that is ${what} is the one on chain`,
      bytesCompared([what, left], ["your node's word", word]),
      () => new InvalidProof(`the header of batch ${batchId} is not the one on chain`),
      batchId,
    );
  }
}

function inUnit(metric: Metric, proven: Statistics): ProvenStatistics {
  const { count, sum, min, max } = proven;
  const empty = count === 0;
  return {
    ...proven,
    metric,
    mean: empty ? null : Number(sum) / count / metric.scale,
    least: empty ? null : min / metric.scale,
    greatest: empty ? null : max / metric.scale,
  };
}

