/** keccak-256 and its 208-bit form. Everything that is hashed in the protocol goes through here. */

import { keccak_256 } from "@noble/hashes/sha3.js";

import { bytesOf } from "./bytes.js";

export const DIGEST_BYTES = 26;
export const ZERO26: Uint8Array = new Uint8Array(DIGEST_BYTES);

export function keccak(data: Uint8Array): Uint8Array {
  // The library would take a text, and hash its letters: hex is not what it stands for.
  return keccak_256(bytesOf("data", data));
}

/** The first 26 bytes of keccak-256. */
export function hash26(data: Uint8Array): Uint8Array {
  return keccak(data).subarray(0, DIGEST_BYTES);
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
