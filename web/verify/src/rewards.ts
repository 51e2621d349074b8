/** Rewards: a cumulative amount per owner under a root on chain. */

import { concat, octets, uint, type BytesLike } from "./bytes.js";
import { InvalidProof, InvalidValue } from "./errors.js";
import { hash26, keccak } from "./hashing.js";
import { verifyInclusion } from "./merkle.js";
import { record } from "./values.js";

const U128_MAX = 2n ** 128n - 1n;

/** All that an owner has ever earned, base units, and where it stands in the tree. */
export interface RewardClaim {
  readonly owner: BytesLike;
  readonly cumulative: bigint;
  readonly position: number;
  readonly proof: readonly Uint8Array[];
}

/** Throws InvalidProof unless the claim stands under the reward root. */
export function verifyClaim(root: Uint8Array, claim: RewardClaim): void {
  if (typeof record("claim", claim).cumulative !== "bigint") {
    throw new InvalidValue("cumulative", claim.cumulative, "takes a bigint");
  }
  if (claim.cumulative < 0n || claim.cumulative > U128_MAX) {
    throw new InvalidProof("owner or amount is out of range");
  }
  const preimage = concat(octets("owner", claim.owner, 20), uint(claim.cumulative, 16));
  // Hashed twice: a leaf's preimage can be no node's.
  verifyInclusion(root, hash26(keccak(preimage)), claim.position, claim.proof);
}
