/** Completeness receipts: what a gateway signs for the reports that it acknowledged
 * (docs/protocol.md, "Receipts"). Whoever holds one can demand its report on chain. */

import { bytesOf, concat, cut, equal, octets, readUint, uint, type BytesLike } from "./bytes.js";
import { Domain, digestIn, registryDomain, structHash, uintWord } from "./eip712.js";
import { InvalidProof, InvalidSignature, MalformedReceipt, ValueOutOfRange } from "./errors.js";
import { DIGEST_BYTES, hash26 } from "./hashing.js";
import { recoverSigner } from "./keys.js";
import { depthOf, verifyInclusion } from "./merkle.js";
import { list, record } from "./values.js";

const RECEIPT_TYPE = "Receipt(uint16 lane,uint40 since,uint40 commitBy,bytes26 root,uint32 count)";
const HEAD_BYTES = 42;
const SIGNED_BYTES = 106;
const POSITION_BYTES = 4;

/** The promise that the reports under `root` are committed by `commitBy`, in chain seconds. `since`
 * names the lane's bond that answers for it. */
export interface Receipt {
  readonly lane: number;
  readonly since: number;
  readonly commitBy: number;
  readonly root: BytesLike;
  readonly count: number;
}

/** What a device keeps beside its report: the frame's receipt, and the report's way to its root. */
export interface ReportReceipt {
  readonly receipt: Receipt;
  readonly signature: BytesLike;
  readonly position: number;
  readonly siblings: readonly BytesLike[];
}

/** Where receipts are signed: the domain of DataBatches. */
export function batchesDomain(chainId: number | bigint, dataBatches: BytesLike): Domain {
  return registryDomain(chainId, dataBatches);
}

/** What is signed. Throws ValueOutOfRange, InvalidValue. */
export function receiptDigest(domain: Domain, receipt: Receipt): Uint8Array {
  const { lane, since, commitBy, root, count } = record("receipt", receipt);
  checkNumber("lane", lane, 0, 2 ** 16 - 1);
  checkNumber("since", since, 0, 2 ** 40 - 1);
  checkNumber("commitBy", commitBy, 0, 2 ** 40 - 1);
  checkNumber("count", count, 1, 2 ** 32 - 1);
  const word = concat(octets("root", root, DIGEST_BYTES), new Uint8Array(32 - DIGEST_BYTES));
  const words = [uintWord(lane), uintWord(since), uintWord(commitBy), word, uintWord(count)];
  return digestIn(domain, structHash(RECEIPT_TYPE, ...words));
}

function checkNumber(field: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) throw new ValueOutOfRange(field, value);
}

/** A packed receipt: 106 bytes, position 4, and 26 for each sibling. Throws MalformedReceipt, also
 * for a way that is too long or too short for the count. */
export function unpackReceipt(packed: Uint8Array): ReportReceipt {
  if (bytesOf("receipt", packed).length < SIGNED_BYTES + POSITION_BYTES) {
    throw new MalformedReceipt(`${packed.length} bytes are no receipt`);
  }
  const read = (start: number, end: number): number => Number(readUint(packed, start, end));
  const [lane, since, commitBy, count] = [read(0, 2), read(2, 7), read(7, 12), read(38, 42)];
  if (count === 0) throw new MalformedReceipt("a receipt is for one report at least");
  const start = SIGNED_BYTES + POSITION_BYTES;
  if (packed.length !== start + DIGEST_BYTES * depthOf(count)) {
    throw new MalformedReceipt(`${packed.length} bytes are no receipt of one of ${count} reports`);
  }
  const position = read(SIGNED_BYTES, start);
  if (position >= count) throw new MalformedReceipt(`position ${position} is none of ${count} reports`);
  const receipt = { lane, since, commitBy, root: packed.subarray(12, 38), count };
  const siblings = cut(packed.subarray(start), DIGEST_BYTES);
  return { receipt, signature: packed.subarray(HEAD_BYTES, SIGNED_BYTES), position, siblings };
}

/** As devices keep it. Throws InvalidValue for parts of another size. */
export function packReceipt(kept: ReportReceipt): Uint8Array {
  const { receipt, signature, position, siblings } = record("kept", kept);
  record("receipt", receipt);
  return concat(
    uint(receipt.lane, 2),
    uint(receipt.since, 5),
    uint(receipt.commitBy, 5),
    octets("root", receipt.root, DIGEST_BYTES),
    uint(receipt.count, 4),
    octets("signature", signature, 64),
    uint(position, POSITION_BYTES),
    ...list("siblings", siblings).map((sibling) => octets("sibling", sibling, DIGEST_BYTES)),
  );
}

/** Checks that `signer` promised this signed report (body ‖ signature), byte for byte. Whether the
 * lane's submitter has named the signer, and for how long, only the chain says.
 *
 * Throws InvalidProof, InvalidSignature, HighS, ValueOutOfRange, InvalidValue. */
export function verifyReceipt(
  kept: ReportReceipt,
  report: Uint8Array,
  signer: BytesLike,
  on: { readonly chainId: number | bigint; readonly dataBatches: BytesLike },
): void {
  const { receipt, signature, position, siblings } = record("kept", kept);
  record("on", on);
  const digest = receiptDigest(batchesDomain(on.chainId, on.dataBatches), receipt);
  // The depth that the count fixes: at another one, an inner node could pass as a leaf.
  checkNumber("position", position, 0, 2 ** 32 - 1);
  if (position >= receipt.count || list("siblings", siblings).length !== depthOf(receipt.count)) {
    throw new InvalidProof(`no proof for one of ${receipt.count} reports`);
  }
  const root = octets("root", receipt.root, DIGEST_BYTES);
  const way = siblings.map((sibling) => octets("sibling", sibling, DIGEST_BYTES));
  verifyInclusion(root, hash26(report), position, way);
  if (!equal(recoverSigner(digest, octets("signature", signature, 64)), octets("signer", signer, 20))) {
    throw new InvalidSignature("the receipt is signed by another account than the lane's");
  }
}
