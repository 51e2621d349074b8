/** EIP-712 digests of what devices and payers sign (docs/protocol.md). */

import { concat, octets, uint, type BytesLike } from "./bytes.js";
import { InvalidValue } from "./errors.js";
import { keccak, utf8 } from "./hashing.js";

const DOMAIN_TYPE =
  "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const REPORT_TYPE = "Report(address device,uint64 sequence,bytes32 observationsHash)";
const ACTIVATION_TYPE = "Activation(address device,address owner)";
const ROTATION_TYPE = "Rotation(address oldDevice,address newDevice,address owner)";
const TRANSFER_TYPE =
  "Transfer(address device,address from,address to,uint256 nonce,uint40 deadline)";

const typeHashes = new Map<string, Uint8Array>();

/** keccak-256 of a struct's type and its words. */
export function structHash(type: string, ...words: readonly Uint8Array[]): Uint8Array {
  let typeHash = typeHashes.get(type);
  if (!typeHash) typeHashes.set(type, (typeHash = keccak(utf8(type))));
  return keccak(concat(typeHash, ...words));
}

export function uintWord(value: number | bigint): Uint8Array {
  return uint(value, 32);
}

export function addressWord(address: Uint8Array): Uint8Array {
  return concat(new Uint8Array(12), octets("address", address, 20));
}

/** Where a signature is meant to be valid: nowhere else is it. */
export class Domain {
  readonly separator: Uint8Array;

  constructor(
    readonly name: string,
    readonly version: string,
    readonly chainId: number | bigint,
    contract: BytesLike,
  ) {
    this.separator = structHash(
      DOMAIN_TYPE,
      keccak(utf8(name)),
      keccak(utf8(version)),
      uintWord(chainId),
      addressWord(octets("contract", contract, 20)),
    );
  }

  /** What is signed: 32 bytes. */
  digest(hash: Uint8Array): Uint8Array {
    return keccak(concat(Uint8Array.of(0x19, 0x01), this.separator, hash));
  }
}

/** The digest in a domain. Throws InvalidValue. */
export function digestIn(domain: Domain, hash: Uint8Array): Uint8Array {
  if (!(domain instanceof Domain)) throw new InvalidValue("domain", domain, "takes a Domain");
  return domain.digest(hash);
}

/** The domain in which devices sign. */
export function registryDomain(chainId: number | bigint, deviceRegistry: BytesLike): Domain {
  return new Domain("CoreChain", "1", chainId, deviceRegistry);
}

/** What a device signs for a report; `observations` are packed, 19 bytes each. */
export function reportDigest(
  domain: Domain,
  device: Uint8Array,
  sequence: bigint,
  observations: Uint8Array,
): Uint8Array {
  const words = [addressWord(device), uintWord(sequence), keccak(observations)];
  return digestIn(domain, structHash(REPORT_TYPE, ...words));
}

/** What a device signs once so that `owner` may register it. */
export function activationDigest(domain: Domain, device: Uint8Array, owner: Uint8Array): Uint8Array {
  return digestIn(domain, structHash(ACTIVATION_TYPE, addressWord(device), addressWord(owner)));
}

/** What a new device signs once to succeed one of the owner's. */
export function rotationDigest(
  domain: Domain,
  oldDevice: Uint8Array,
  newDevice: Uint8Array,
  owner: Uint8Array,
): Uint8Array {
  const words = [oldDevice, newDevice, owner].map(addressWord);
  return digestIn(domain, structHash(ROTATION_TYPE, ...words));
}

/** What a device and its owner sign so that anyone may send the transfer. */
export function transferDigest(
  domain: Domain,
  device: Uint8Array,
  before: Uint8Array,
  after: Uint8Array,
  nonce: bigint,
  deadline: number,
): Uint8Array {
  const words = [device, before, after].map(addressWord);
  return digestIn(domain, structHash(TRANSFER_TYPE, ...words, uintWord(nonce), uintWord(deadline)));
}
