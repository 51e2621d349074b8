/** State channels: what two parties sign (docs/protocol.md, "State channels"). */

import { concat, equal, octets, uint, type BytesLike } from "./bytes.js";
import { Domain, digestIn, structHash, uintWord } from "./eip712.js";
import { BalanceOverDeposit, InvalidSignature, StaleState, ValueOutOfRange } from "./errors.js";
import { keccak } from "./hashing.js";
import { recoverSigner, signatureOf } from "./keys.js";
import { amount, record, whole } from "./values.js";

const STATE_TYPE = "ChannelState(bytes32 channelId,uint40 version,uint88 balanceA)";
const CLOSE_TYPE = "ChannelClose(bytes32 channelId,uint88 balanceA)";
const VERSION_MAX = 2 ** 40 - 1;
const BALANCE_MAX = 2n ** 88n - 1n;

/** The immutable terms of a two-way channel; times in seconds. */
export interface StateChannelTerms {
  readonly partyA: BytesLike;
  readonly partyB: BytesLike;
  readonly token: BytesLike;
  readonly challengePeriod: number;
  readonly openBefore: number;
  readonly salt: BytesLike;
}

/** Balances at a version; party B holds the rest of the deposit. The newest version wins. */
export interface ChannelState {
  readonly channelId: BytesLike;
  readonly version: number;
  readonly balanceA: bigint;
}

export function stateDomain(chainId: number | bigint, stateChannels: BytesLike): Domain {
  return new Domain("CoreChain State Channels", "1", chainId, stateChannels);
}

/** 32 bytes: chain, contract and terms. */
export function stateChannelId(
  terms: StateChannelTerms,
  on: { readonly chainId: number | bigint; readonly stateChannels: BytesLike },
): Uint8Array {
  record("terms", terms);
  record("on", on);
  return keccak(
    concat(
      uintWord(on.chainId),
      octets("stateChannels", on.stateChannels, 20),
      octets("partyA", terms.partyA, 20),
      octets("partyB", terms.partyB, 20),
      octets("token", terms.token, 20),
      uint(terms.challengePeriod, 4),
      uint(terms.openBefore, 5),
      octets("salt", terms.salt, 5),
    ),
  );
}

/** What both parties sign of a state. Throws ValueOutOfRange. */
export function stateDigest(domain: Domain, state: ChannelState): Uint8Array {
  const { channelId, version, balanceA } = record("state", state);
  const isVersion = Number.isInteger(version) && version >= 0 && version <= VERSION_MAX;
  if (!isVersion) throw new ValueOutOfRange("version", version);
  const channel = octets("channelId", channelId, 32);
  return digestIn(domain, structHash(STATE_TYPE, channel, uintWord(version), balanceWord(balanceA)));
}

/** What both sign to close at once: a type of its own, so that no state passes as a close. */
export function closeDigest(domain: Domain, channelId: BytesLike, balanceA: bigint): Uint8Array {
  const channel = octets("channelId", channelId, 32);
  return digestIn(domain, structHash(CLOSE_TYPE, channel, balanceWord(balanceA)));
}

function balanceWord(balance: bigint): Uint8Array {
  if (amount("balanceA", balance) > BALANCE_MAX) throw new ValueOutOfRange("balanceA", balance);
  return uintWord(balance);
}

/** Checks that both parties have signed this state of this channel, that it is newer than version
 * `held`, and gives party A no more than the deposit.
 *
 * Throws InvalidSignature, HighS, ValueOutOfRange, StaleState, BalanceOverDeposit. */
export function verifyState(
  terms: StateChannelTerms,
  state: ChannelState,
  signatures: { readonly a: BytesLike; readonly b: BytesLike },
  on: { readonly chainId: number | bigint; readonly stateChannels: BytesLike },
  books: { deposit: bigint; held: number },
): void {
  const { deposit, held } = record("books", books);
  amount("deposit", deposit);
  // Of a channel that is at no version yet: below all of them.
  whole("held", held, -1, VERSION_MAX);
  if (!equal(octets("channelId", record("state", state).channelId, 32), stateChannelId(terms, on))) {
    throw new InvalidSignature("the state is of another channel");
  }
  const digest = stateDigest(stateDomain(on.chainId, on.stateChannels), state);
  requireBoth(terms, digest, signatures);
  if (state.version <= held) throw new StaleState(held, state.version);
  if (state.balanceA > deposit) throw new BalanceOverDeposit(deposit, state.balanceA);
}

/** Checks that both parties agree to close with this balance. Throws InvalidSignature, HighS,
 * ValueOutOfRange. */
export function verifyClose(
  terms: StateChannelTerms,
  balanceA: bigint,
  signatures: { readonly a: BytesLike; readonly b: BytesLike },
  on: { readonly chainId: number | bigint; readonly stateChannels: BytesLike },
): void {
  const domain = stateDomain(record("on", on).chainId, on.stateChannels);
  requireBoth(terms, closeDigest(domain, stateChannelId(terms, on), balanceA), signatures);
}

function requireBoth(
  { partyA, partyB }: StateChannelTerms,
  digest: Uint8Array,
  signatures: { readonly a: BytesLike; readonly b: BytesLike },
): void {
  const { a, b } = record("signatures", signatures);
  for (const [name, party, signature] of [["A", partyA, a], ["B", partyB, b]] as const) {
    if (!equal(recoverSigner(digest, signatureOf(signature)), octets("party", party, 20))) {
      throw new InvalidSignature(`party ${name} has not signed this`);
    }
  }
}
