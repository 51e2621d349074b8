/** Device keys and their signatures on two curves: 64 bytes, low-s only. */

import { p256 } from "@noble/curves/nist.js";
import { secp256k1 } from "@noble/curves/secp256k1.js";

import { bytesOf, concat, equal, isBytes, octets, readUint, uint, type BytesLike } from "./bytes.js";
import { registryDomain, reportDigest } from "./eip712.js";
import { HighS, InvalidSignature, InvalidValue, ValueOutOfRange } from "./errors.js";
import { keccak } from "./hashing.js";
import { checkObservations } from "./reading.js";
import { integer, record } from "./values.js";

export const SECP256K1_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
export const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const PARITY = 1n << 255n;
const U64_MAX = 2n ** 64n - 1n;

export type KeyType = "secp256k1" | "p256";
/** As the registry numbers them. */
export const KEY_TYPES: Readonly<Record<KeyType, number>> = { secp256k1: 1, p256: 2 };

/** What a verifier needs to know of a device. `publicKey` (x ‖ y, 64 bytes) is needed of P-256. */
export interface DeviceIdentity {
  readonly device: BytesLike;
  readonly keyType: KeyType;
  readonly publicKey?: BytesLike;
}

/** The id of an uncompressed public key without its prefix (x ‖ y, 64 bytes). */
export function deviceId(publicKey: Uint8Array): Uint8Array {
  return keccak(octets("publicKey", publicKey, 64)).subarray(12);
}

function lowS(s: bigint, order: bigint): bigint {
  if (s > order / 2n) throw new HighS("s is above half the curve order");
  return s;
}

/** The EIP-2098 form of a 65-byte `r ‖ s ‖ v`; 64 bytes pass unchanged. Throws InvalidSignature for
 * another v than 27 or 28, HighS. */
export function compactSignature(signature: Uint8Array): Uint8Array {
  if (bytesOf("signature", signature).length !== 65) return signature;
  const v = signature[64]!;
  if (v !== 27 && v !== 28) throw new InvalidSignature(`v is 27 or 28, not ${v}`);
  const s = lowS(readUint(signature, 32, 64), SECP256K1_ORDER);
  return concat(signature.subarray(0, 32), uint(v === 28 ? s | PARITY : s, 32));
}

/** The address that made a 64-byte secp256k1 signature (EIP-2098). Throws HighS, InvalidSignature. */
export function recoverSigner(digest: Uint8Array, signature: Uint8Array): Uint8Array {
  octets("digest", digest, 32);
  const word = readUint(checked(signature), 32, 64);
  const s = lowS(word & (PARITY - 1n), SECP256K1_ORDER);
  try {
    const found = new secp256k1.Signature(readUint(signature, 0, 32), s)
      .addRecoveryBit(word >> 255n ? 1 : 0)
      .recoverPublicKey(digest);
    return deviceId(found.toBytes(false).subarray(1));
  } catch (error) {
    throw new InvalidSignature("no key can have made this signature", { cause: error });
  }
}

function checked(signature: Uint8Array): Uint8Array {
  if (bytesOf("signature", signature).length !== 64) {
    throw new InvalidSignature(`a signature has 64 bytes, not ${signature.length}`);
  }
  return signature;
}

/** Checks a device's 64-byte signature of a digest. Throws HighS, InvalidSignature. */
export function verifySignature(
  identity: DeviceIdentity,
  digest: Uint8Array,
  signature: BytesLike,
): void {
  const device = octets("device", record("identity", identity).device, 20);
  octets("digest", digest, 32);
  const signed = checked(octets("signature", signature, 64));
  if (identity.keyType === "p256") {
    verifyP256(device, identity.publicKey, digest, signed);
  } else if (identity.keyType !== "secp256k1") {
    throw new InvalidValue("keyType", identity.keyType, 'takes "secp256k1" or "p256"');
  } else if (!equal(recoverSigner(digest, signed), device)) {
    // Recovery, not verification with a key: only recovery looks at yParity as the contract does.
    throw new InvalidSignature("signed by another key than the device's");
  }
}

function verifyP256(
  device: Uint8Array,
  publicKey: BytesLike | undefined,
  digest: Uint8Array,
  signature: Uint8Array,
): void {
  lowS(readUint(signature, 32, 64), P256_ORDER);
  const key = publicKey === undefined ? undefined : octets("publicKey", publicKey, 64);
  if (!key || !equal(deviceId(key), device)) {
    throw new InvalidSignature("the public key does not belong to the device");
  }
  if (!holds(() => p256.verify(signature, digest, concat(Uint8Array.of(4), key)))) {
    throw new InvalidSignature("the P-256 signature does not verify");
  }
}

/** Whether it says yes; a key that is on no curve, or r and s out of range, is a no. */
function holds(verify: () => boolean): boolean {
  try {
    return verify();
  } catch {
    return false;
  }
}

/** A report as its device signed it: `observations` are packed, 19 bytes each. */
export interface SignedReport {
  readonly sequence: bigint | number;
  readonly observations: BytesLike;
  readonly signature: BytesLike;
}

/** Checks that a device signed a report for this chain and registry. Throws MalformedReport,
 * ValueOutOfRange, HighS, InvalidSignature. */
export function verifyReport(
  report: SignedReport,
  identity: DeviceIdentity,
  on: { readonly chainId: number | bigint; readonly deviceRegistry: BytesLike },
): void {
  record("identity", identity);
  record("on", on);
  const packed = packedOf(record("report", report).observations);
  checkObservations(packed);
  const sequence = integer("sequence", report.sequence);
  if (sequence < 0n || sequence > U64_MAX) throw new ValueOutOfRange("sequence", sequence);
  const domain = registryDomain(on.chainId, on.deviceRegistry);
  const digest = reportDigest(domain, octets("device", identity.device, 20), sequence, packed);
  verifySignature(identity, digest, report.signature);
}

function packedOf(value: BytesLike): Uint8Array {
  if (typeof value !== "string") return bytesOf("observations", value);
  const size = (value.startsWith("0x") ? value.length - 2 : value.length) >> 1;
  return octets("observations", value, size);
}

/** 64 bytes, of those or of 65 in either form. Throws InvalidValue, InvalidSignature, HighS. */
export function signatureOf(value: BytesLike): Uint8Array {
  const long = typeof value === "string" ? value.length > 131 : isBytes(value) && value.length === 65;
  return compactSignature(octets("signature", value, long ? 65 : 64));
}
