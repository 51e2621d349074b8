/** Payment channels: vouchers of x402's `batch-settlement` scheme (docs/protocol.md, "Payments"). */

import { equal, isZero, octets, type BytesLike } from "./bytes.js";
import { Domain, addressWord, digestIn, structHash, uintWord } from "./eip712.js";
import {
  InvalidSignature,
  PaymentRequired,
  VoucherMiscounted,
  VoucherRegressed,
} from "./errors.js";
import { recoverSigner, signatureOf } from "./keys.js";
import { amount, record } from "./values.js";

const CONFIG_TYPE =
  "ChannelConfig(address payer,address payerAuthorizer,address receiver," +
  "address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)";
const VOUCHER_TYPE = "Voucher(bytes32 channelId,uint128 maxClaimableAmount)";

/** The immutable terms of a payment channel; their EIP-712 hash is its id. */
export interface ChannelConfig {
  readonly payer: BytesLike;
  readonly payerAuthorizer: BytesLike;
  readonly receiver: BytesLike;
  readonly receiverAuthorizer: BytesLike;
  readonly token: BytesLike;
  readonly withdrawDelay: number;
  readonly salt: BytesLike;
}

/** A promise of up to `amount` base units in total (cumulative) from a channel. */
export interface Voucher {
  readonly channelId: BytesLike;
  readonly amount: bigint;
}

export function paymentDomain(chainId: number | bigint, paymentChannels: BytesLike): Domain {
  return new Domain("x402 Batch Settlement", "1", chainId, paymentChannels);
}

/** 32 bytes. */
export function channelId(domain: Domain, config: ChannelConfig): Uint8Array {
  record("config", config);
  const parties = [
    octets("payer", config.payer, 20),
    octets("payerAuthorizer", config.payerAuthorizer, 20),
    octets("receiver", config.receiver, 20),
    octets("receiverAuthorizer", config.receiverAuthorizer, 20),
    octets("token", config.token, 20),
  ];
  return digestIn(
    domain,
    structHash(
      CONFIG_TYPE,
      ...parties.map(addressWord),
      uintWord(config.withdrawDelay),
      octets("salt", config.salt, 32),
    ),
  );
}

/** What the payer signs. */
export function voucherDigest(domain: Domain, voucher: Voucher): Uint8Array {
  const channel = octets("channelId", record("voucher", voucher).channelId, 32);
  return digestIn(domain, structHash(VOUCHER_TYPE, channel, uintWord(voucher.amount)));
}

/** Who signs vouchers: the authorizer, or the payer itself when there is none. */
export function voucherSigner(config: ChannelConfig): Uint8Array {
  const authorizer = octets("payerAuthorizer", record("config", config).payerAuthorizer, 20);
  return isZero(authorizer) ? octets("payer", config.payer, 20) : authorizer;
}

/** Whether a voucher pays: `held` is the newest amount known, `due` what must be covered now.
 *
 * Throws InvalidSignature, HighS, VoucherRegressed, VoucherMiscounted (too small), PaymentRequired
 * (more than the deposit). */
export function checkVoucher(
  domain: Domain,
  config: ChannelConfig,
  voucher: Voucher,
  signature: BytesLike,
  books: { deposit: bigint; held: bigint; due: bigint },
): void {
  const { deposit, held, due } = record("books", books);
  amount("deposit", deposit);
  amount("held", held);
  amount("due", due);
  amount("amount", record("voucher", voucher).amount);
  if (!equal(octets("channelId", voucher.channelId, 32), channelId(domain, config))) {
    throw new InvalidSignature("the voucher is for another channel");
  }
  if (!equal(recoverSigner(voucherDigest(domain, voucher), signatureOf(signature)), voucherSigner(config))) {
    throw new InvalidSignature("the voucher is not signed by the channel's payer");
  }
  if (voucher.amount <= held) throw new VoucherRegressed(held, voucher.amount);
  if (voucher.amount < due) throw new VoucherMiscounted(due, voucher.amount);
  if (voucher.amount > deposit) {
    throw new PaymentRequired(`the voucher for ${voucher.amount} exceeds the deposit ${deposit}`);
  }
}
