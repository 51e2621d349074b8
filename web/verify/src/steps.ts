/** What a verification compared, step by step, for people to see. */

import { hex } from "./bytes.js";
import { CoreChainError } from "./errors.js";

/** What a step is about. */
export type Check =
  | "shape" // the answer has the documented shape
  | "question" // it answers what was asked
  | "chain" // the node is on the chain of the contracts
  | "commitment" // what the user's own node says of a batch
  | "root" // what the user's own node says of the rewards
  | "header" // a header is the hash on chain
  | "inclusion" // readings are under the commitment
  | "range" // statistics of a range follow from the header
  | "leaves" // shown readings are all of the range
  | "skipped" // a batch that was left out has nothing of the window
  | "gap" // no batch between the first and the last is missing
  | "total"; // the parts make the whole

/** Two values that must be the same, in words: whose each is, and what it is. */
export interface Compared {
  readonly left: { readonly what: string; readonly value: string };
  readonly right: { readonly what: string; readonly value: string };
}

export interface Step {
  readonly check: Check;
  /** One plain sentence. */
  readonly text: string;
  readonly holds: boolean;
  readonly batchId?: number;
  readonly compared?: Compared;
}

type Details = Pick<Step, "batchId" | "compared">;

/** Collects steps; what fails is the last one, and is on the error as `steps`. */
export class Steps {
  readonly taken: Step[] = [];

  /** A step that holds if `work` throws nothing. */
  run<T>(check: Check, text: string, details: Details, work: () => T): T {
    try {
      const result = work();
      this.taken.push({ check, text, holds: true, ...details });
      return result;
    } catch (error) {
      throw this.failed(error, check, text, details);
    }
  }

  /** The same of what takes a while. */
  async wait<T>(check: Check, text: string, details: Details, work: () => Promise<T>): Promise<T> {
    try {
      const result = await work();
      this.taken.push({ check, text, holds: true, ...details });
      return result;
    } catch (error) {
      throw this.failed(error, check, text, details);
    }
  }

  /** A step that holds if two values are the same; else what `refusal` makes is thrown. */
  compare(
    check: Check,
    text: string,
    compared: Compared,
    refusal: () => CoreChainError,
    batchId?: number,
  ): void {
    const details = batchId === undefined ? { compared } : { compared, batchId };
    this.run(check, text, details, () => {
      if (compared.left.value !== compared.right.value) throw refusal();
    });
  }

  private failed(error: unknown, check: Check, text: string, details: Details): unknown {
    if (error instanceof CoreChainError && !error.steps.length) {
      this.taken.push({ check, text, holds: false, ...details });
      error.steps = this.taken;
    }
    return error;
  }
}

/** Bytes on both sides of a comparison. */
export function bytesCompared(
  left: readonly [what: string, value: Uint8Array],
  right: readonly [what: string, value: Uint8Array],
): Compared {
  return {
    left: { what: left[0], value: hex(left[1]) },
    right: { what: right[0], value: hex(right[1]) },
  };
}

