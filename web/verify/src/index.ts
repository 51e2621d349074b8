/** Checks what a CoreChain query API answers against your own node: in a browser or in Node. */

export { hex, octets, type BytesLike, type Hex } from "./bytes.js";
export {
  MAX_CELLS,
  RESOLUTION,
  cellOf,
  cellText,
  isCell,
  keysOf,
  resolutionOf,
  spansOf,
  type CellLike,
  type Span,
} from "./cells.js";
export { Chain, type ChainOptions, type Commitments, type Hints } from "./chain.js";
export {
  channelId,
  checkVoucher,
  paymentDomain,
  voucherDigest,
  voucherSigner,
  type ChannelConfig,
  type Voucher,
} from "./channel.js";
export {
  Domain,
  activationDigest,
  registryDomain,
  reportDigest,
  rotationDigest,
  transferDigest,
} from "./eip712.js";
export * from "./errors.js";
export { verifyFleetReport, verifyMember, type Listing } from "./fleets.js";
export { hash26, keccak } from "./hashing.js";
export {
  ancestorOf,
  batchId,
  commitmentFrom,
  commitmentOf,
  groupLeaf,
  laneOf,
  numberOf,
  restHash,
  verifyPlace,
  verifyTrail,
  type Header,
  type Place,
  type Revealed,
} from "./header.js";
export { parseJson } from "./json.js";
export {
  compactSignature,
  deviceId,
  recoverSigner,
  verifyReport,
  verifySignature,
  type DeviceIdentity,
  type KeyType,
  type SignedReport,
} from "./keys.js";
export {
  depthOf,
  rootFromMultiproof,
  rootFromProof,
  rootOf,
  verifyInclusion,
  verifyMultiproof,
} from "./merkle.js";
export { type Eip1193Provider, type RpcLike } from "./node.js";
export { pathOf, type Question } from "./questions.js";
export type {
  BatchQuestion,
  ReadingQuestion,
  ReadingsQuestion,
  RegionQuestion,
  RewardQuestion,
  StatisticsQuestion,
} from "./questions.js";
export {
  FLAGS,
  packKey,
  packReading,
  provenanceOf,
  unpackObservations,
  unpackReading,
  type LocatedReading,
  type Observation,
  type Reading,
} from "./reading.js";
export {
  batchesDomain,
  packReceipt,
  receiptDigest,
  unpackReceipt,
  verifyReceipt,
  type Receipt,
  type ReportReceipt,
} from "./receipts.js";
export { verifyClaim, type RewardClaim } from "./rewards.js";
export {
  closeDigest,
  stateChannelId,
  stateDigest,
  stateDomain,
  verifyClose,
  verifyState,
  type ChannelState,
  type StateChannelTerms,
} from "./states.js";
export {
  unpackNode,
  verifyRange,
  type RangeProof,
  type Statistics,
  type StatisticsNode,
} from "./statistics.js";
export { type Check, type Compared, type Step } from "./steps.js";
export {
  verifyAnswer,
  type ProvenBatch,
  type ProvenPage,
  type ProvenReward,
  type ProvenStatistics,
  type ValueOf,
  type Verified,
  type VerifyOptions,
} from "./verify.js";
export { METRICS, metricOf, type Metric, type MetricLike } from "./vocabulary.js";
