/** keccak-256 and its 208-bit form. Everything that is hashed in the protocol goes through here. */

import { keccak_256 } from "@noble/hashes/sha3.js";

export const DIGEST_BYTES = 26;
export const ZERO26: Uint8Array = new Uint8Array(DIGEST_BYTES);

export function keccak(data: Uint8Array): Uint8Array {
  return keccak_256(data);
}

/** The first 26 bytes of keccak-256. */
export function hash26(data: Uint8Array): Uint8Array {
  return keccak_256(data).subarray(0, DIGEST_BYTES);
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
