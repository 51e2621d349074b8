/** One failure, one name: the names of `corechain.protocol.errors`, of the contracts and of the
 * API's problem types (docs/protocol.md, "Errors"). */

import type { Step } from "./steps.js";

/** Root of everything that is thrown on purpose. `name` is the error's name. */
export class CoreChainError extends Error {
  /** What had been compared when it was thrown; the last one is the one that does not hold. */
  steps: readonly Step[] = [];

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    // Not `constructor.name`: a minifier shortens it, and users compare it.
    this.name = "CoreChainError";
  }
}

/** What was given, or answered, is wrong. It will be wrong again: never retried. */
export class ProtocolError extends CoreChainError {
  override name = "ProtocolError";
}

/** The world failed (network, node, server). It may be retried. */
export class TransportError extends CoreChainError {
  override name = "TransportError";
}

/** The signature does not verify for the key it claims. */
export class InvalidSignature extends ProtocolError {
  override name = "InvalidSignature";
}

/** The signature's s is above half the curve order: a second encoding of the same consent. */
export class HighS extends ProtocolError {
  override name = "HighS";
}

/** A proof does not lead to the root. */
export class InvalidProof extends ProtocolError {
  override name = "InvalidProof";
}

/** The boundary leaves do not enclose the keys that were asked for, or batches are left out. */
export class RangeIncomplete extends ProtocolError {
  override name = "RangeIncomplete";
}

/** The bytes are not a report, a reading or an observation. */
export class MalformedReport extends ProtocolError {
  override name = "MalformedReport";
}

/** The bytes are no receipt: a wrong length, or a position that its count does not have. */
export class MalformedReceipt extends ProtocolError {
  override name = "MalformedReceipt";
}

/** The answer does not have the documented shape. */
export class MalformedAnswer extends ProtocolError {
  override name = "MalformedAnswer";
}

/** The answer is well formed, but to another question than the one that was asked. */
export class WrongAnswer extends MalformedAnswer {
  override name = "WrongAnswer";
}

/** A log of a known event that does not have its shape. */
export class MalformedLog extends ProtocolError {
  override name = "MalformedLog";
}

/** An argument is not what the parameter takes. Says which, what was given, what is right. */
export class InvalidValue extends ProtocolError {
  override name = "InvalidValue";

  constructor(readonly parameter: string, readonly value: unknown, readonly right: string) {
    super(`${parameter}: ${right}; given was ${shown(value)}`);
  }
}

/** A number does not fit its type. */
export class ValueOutOfRange extends ProtocolError {
  override name = "ValueOutOfRange";

  constructor(readonly field: string, readonly value: unknown, right = "") {
    super(`${field} does not fit its type: ${shown(value)}${right && "; "}${right}`);
  }
}

/** The metric is not in the vocabulary. */
export class UnknownMetric extends ProtocolError {
  override name = "UnknownMetric";

  constructor(readonly metric: unknown) {
    super(`metric ${shown(metric)} is not in the vocabulary`);
  }
}

/** The cell is not an H3 cell. */
export class InvalidCell extends ProtocolError {
  override name = "InvalidCell";

  constructor(readonly cell: bigint) {
    super(`0x${cell.toString(16)} is not an H3 cell`);
  }
}

/** No such batch was committed. */
export class UnknownBatch extends ProtocolError {
  override name = "UnknownBatch";

  constructor(readonly batchId: number) {
    super(`batch ${batchId} was not committed`);
  }
}

/** The node is on another chain, or the contract is not there. */
export class WrongChain extends ProtocolError {
  override name = "WrongChain";
}

/** A contract refused for a reason that has no class of its own here. */
export class Reverted extends ProtocolError {
  override name = "Reverted";
}

/** No channel, no voucher, or a voucher that is too small or exceeds the deposit. */
export class PaymentRequired extends ProtocolError {
  override name = "PaymentRequired";
}

/** The voucher is not for what is charged so far plus the price. */
export class VoucherMiscounted extends PaymentRequired {
  override name = "VoucherMiscounted";

  constructor(readonly due: bigint, readonly offered: bigint) {
    super(`the voucher is for ${offered} where ${due} is due`);
  }
}

/** The voucher is worth no more than the one already held. */
export class VoucherRegressed extends ProtocolError {
  override name = "VoucherRegressed";

  constructor(readonly held: bigint, readonly offered: bigint) {
    super(`voucher for ${offered} does not exceed the ${held} already held`);
  }
}

/** The state is not newer than the one that is held. */
export class StaleState extends ProtocolError {
  override name = "StaleState";

  constructor(readonly held: number, readonly offered: number) {
    super(`version ${offered} is not newer than ${held}`);
  }
}

/** More is given to party A than the channel holds. */
export class BalanceOverDeposit extends ProtocolError {
  override name = "BalanceOverDeposit";

  constructor(readonly deposit: bigint, readonly balanceA: bigint) {
    super(`party A would get ${balanceA} of a deposit of ${deposit}`);
  }
}

/** The node did not answer, or answered with an error of its own, or nonsense. */
export class ChainUnavailable extends TransportError {
  override name = "ChainUnavailable";
}

/** The node answered a call with an error object. `data` is whatever it carries. */
export class NodeRefusal extends ChainUnavailable {
  override name = "NodeRefusal";

  constructor(
    readonly method: string,
    readonly code: number,
    readonly reason: string,
    readonly data?: unknown,
  ) {
    super(`${method}: ${reason} (code ${code})`);
  }
}

/** The query API refused, is busy or broken. `type` is the name of its problem, where it has one. */
export class ApiUnavailable extends TransportError {
  override name = "ApiUnavailable";

  constructor(message: string, readonly status: number | null, readonly type: string | null = null) {
    super(message);
  }
}

/** A value for a sentence, at most 60 characters. */
export function shown(value: unknown): string {
  return textOf(value).slice(0, 60);
}

function textOf(value: unknown): string {
  try {
    return typeof value === "string" ? JSON.stringify(value) : String(value);
  } catch {
    return typeof value; // an object that has no text
  }
}
