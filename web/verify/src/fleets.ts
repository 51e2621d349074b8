/** Fleets: many devices of one owner under one root (docs/protocol.md, "Fleets"). A device of a fleet
 * has no entry of its own in DeviceRegistry until somebody shows that the fleet lists it. */

import { bytesOf, concat, cut, equal, isZero, octets, type BytesLike } from "./bytes.js";
import { InvalidProof, InvalidValue, shown } from "./errors.js";
import { DIGEST_BYTES, hash26 } from "./hashing.js";
import { KEY_TYPES, verifyReport, type DeviceIdentity, type KeyType, type SignedReport } from "./keys.js";
import { rootFromProof } from "./merkle.js";
import { record } from "./values.js";

const ID_BYTES = 20;
const IDS_A_LEAF = 4;
/** The other ids of the leaf: what every proof begins with. */
const OTHERS_BYTES = (IDS_A_LEAF - 1) * ID_BYTES;
const MAX_DEPTH = 10;

/** That a fleet lists a device: its place, and the way from there. */
export interface Listing {
  /** 26 bytes, of `FleetEnrolled`. */
  readonly fleet: BytesLike;
  readonly owner: BytesLike;
  readonly keyType: KeyType;
  readonly position: number;
  /** The three other ids of the leaf, then the siblings. */
  readonly proof: Uint8Array;
}

/** Throws InvalidProof unless the device stands at that position of the fleet. */
export function verifyMember(device: BytesLike, listing: Listing): void {
  const id = octets("device", device, ID_BYTES);
  const owner = octets("owner", record("listing", listing).owner, ID_BYTES);
  if (!Object.keys(KEY_TYPES).includes(listing.keyType)) {
    throw new InvalidValue("keyType", listing.keyType, 'takes "secp256k1" or "p256"');
  }
  const sealed = concat(topOf(id, listing), owner, Uint8Array.of(KEY_TYPES[listing.keyType]));
  if (!equal(hash26(sealed), octets("fleet", listing.fleet, DIGEST_BYTES))) {
    throw new InvalidProof(`the device is not at position ${shown(listing.position)} of the fleet`);
  }
}

function topOf(device: Uint8Array, { position, proof }: Listing): Uint8Array {
  const size = bytesOf("proof", proof).length - OTHERS_BYTES;
  const depth = size / DIGEST_BYTES;
  if (isZero(device) || size < 0 || !Number.isInteger(depth) || depth > MAX_DEPTH) {
    throw new InvalidProof(`${proof.length} bytes are no proof of a fleet's device`);
  }
  if (!Number.isInteger(position) || position < 0) throw new InvalidProof(`position ${shown(position)} is none`);
  const place = (position % IDS_A_LEAF) * ID_BYTES;
  const leaf = concat(proof.subarray(0, place), device, proof.subarray(place, OTHERS_BYTES));
  const siblings = cut(proof.subarray(OTHERS_BYTES), DIGEST_BYTES);
  return rootFromProof(hash26(leaf), Math.floor(position / IDS_A_LEAF), siblings);
}

/** Checks that a device of a fleet signed a report for this chain and registry. `publicKey` (x ‖ y) is
 * needed of P-256. That the fleet was enrolled, and the device not revoked, only the chain says.
 *
 * Throws InvalidProof, MalformedReport, ValueOutOfRange, HighS, InvalidSignature. */
export function verifyFleetReport(
  report: SignedReport,
  identity: Pick<DeviceIdentity, "device" | "publicKey">,
  listing: Listing,
  on: { readonly chainId: number | bigint; readonly deviceRegistry: BytesLike },
): void {
  const { device, publicKey } = record("identity", identity);
  verifyMember(device, listing);
  const known = { device, keyType: listing.keyType };
  verifyReport(report, publicKey === undefined ? known : { ...known, publicKey }, on);
}
