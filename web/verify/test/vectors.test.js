/** The golden vectors of tests/vectors: the same files that Python and Solidity are held to. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as corechain from "../dist/index.js";

const { hex } = corechain;
const vectors = (name) =>
  JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}.json`, import.meta.url), "utf8"));
const bytes = (text) => corechain.octets("vector", text, (text.length - 2) / 2);
const cut = (text, size) =>
  Array.from({ length: (text.length - 2) / 2 / size }, (_, i) =>
    bytes("0x" + text.slice(2 + 2 * size * i, 2 + 2 * size * (i + 1))),
  );
const { header: headerVector, readings, ranges, multiproofs, ancestors } = vectors("batch");
const header = {
  ...headerVector,
  ...Object.fromEntries(
    ["previous", "ancestor", "statisticsRoot", "reportsRoot", "dataHash", "rulesHash"].map((name) => [
      name,
      bytes(headerVector[name]),
    ]),
  ),
};
const named = (name) => (error) => error instanceof corechain.CoreChainError && error.name === name;

test("a header hashes to its commitment", () => {
  assert.equal(hex(corechain.restHash(header)), headerVector.restHash);
  const commitment = corechain.commitmentOf(header, bytes(headerVector.readingsRoot));
  assert.equal(hex(commitment), headerVector.commitment);
});

test("a reading is packed as everywhere, and is under the root", () => {
  for (const { leaf, position, proof, ...fields } of readings) {
    const reading = corechain.unpackReading(bytes(leaf));
    assert.deepEqual(reading, { ...fields, cell: BigInt(fields.cell) });
    assert.equal(hex(corechain.packReading(reading, bytes(fields.device))), leaf);
    const root = bytes(headerVector.readingsRoot);
    corechain.verifyInclusion(root, corechain.hash26(bytes(leaf)), position, proof.map(bytes));
  }
});

test("a reading of another place, or with another sibling, is not under the root", () => {
  for (const { leaf, position, proof } of readings) {
    const root = bytes(headerVector.readingsRoot);
    const [hash, nodes] = [corechain.hash26(bytes(leaf)), proof.map(bytes)];
    const wrong = nodes.map((node, i) => (i === 2 ? node.map((byte) => byte ^ 1) : node));
    const refused = named("InvalidProof");
    assert.throws(() => corechain.verifyInclusion(root, hash, position ^ 1, nodes), refused);
    assert.throws(() => corechain.verifyInclusion(root, hash, position, wrong), refused);
    assert.throws(() => corechain.verifyInclusion(root, hash, position, nodes.slice(1)), refused);
    assert.throws(() => corechain.verifyInclusion(root, hash, position + 128, nodes), refused);
  }
});

test("several readings are under the root by one proof, which has one form only", () => {
  const root = bytes(multiproofs.root);
  for (const { positions, depth, leaves, nodes } of multiproofs.proofs) {
    const hashes = leaves.map((leaf) => corechain.hash26(bytes(leaf)));
    const proof = nodes.map(bytes);
    corechain.verifyMultiproof(root, hashes, positions, depth, proof);
    for (const wrong of [proof.slice(1), [...proof, proof[0]]]) {
      const check = () => corechain.verifyMultiproof(root, hashes, positions, depth, wrong);
      assert.throws(check, named("InvalidProof"));
    }
    const twice = [positions[0], ...positions];
    const check = () => corechain.rootFromMultiproof([hashes[0], ...hashes], twice, depth, proof);
    assert.throws(check, { name: "InvalidProof", message: /strictly ascending/ });
  }
});

test("statistics of a range follow from the statistics root", () => {
  for (const row of ranges) {
    const proof = { leaves: cut(row.leaves, 40), nodes: cut(row.nodes, 42).map(corechain.unpackNode) };
    const keys = [bytes(row.low), bytes(row.high)];
    const verify = (from, to, [low, high]) =>
      corechain.verifyRange(header.statisticsRoot, header.readingCount, from, to, low, high, proof);
    const { count, sum, min, max } = row;
    assert.deepEqual(verify(row.from, row.to, keys), { count, sum: BigInt(sum), min, max }, row.name);
    assert.throws(() => verify(row.from, row.to + 1, keys), named("InvalidProof"));
    const [top] = proof.nodes;
    const longer = { ...proof, nodes: [...proof.nodes, top ?? corechain.unpackNode(new Uint8Array(42))] };
    const { statisticsRoot, readingCount } = header;
    const left = () =>
      corechain.verifyRange(statisticsRoot, readingCount, row.from, row.to, ...keys, longer);
    assert.throws(left, named("InvalidProof"));
    if (row.from > 0) {
      const wider = new Uint8Array(35);
      assert.throws(() => verify(row.from, row.to, [wider, keys[1]]), named("RangeIncomplete"));
    }
  }
});

test("the ancestor of a number is the one of the protocol", () => {
  for (const [number, ancestor] of ancestors) {
    assert.equal(corechain.ancestorOf(number), ancestor);
  }
});

test("a report is signed by its device, on both curves", () => {
  const { domain, reports } = vectors("reports");
  const on = { chainId: domain.chainId, deviceRegistry: domain.registry };
  for (const row of reports) {
    const identity = {
      device: row.device,
      keyType: row.keyType === 2 ? "p256" : "secp256k1",
      publicKey: row.x + row.y.slice(2),
    };
    const report = { ...row, sequence: BigInt(row.sequence) };
    corechain.verifyReport(report, identity, on);
    const refused = named("InvalidSignature");
    const later = { ...report, sequence: report.sequence + 1n };
    assert.throws(() => corechain.verifyReport(later, identity, on), refused);
    assert.throws(() => corechain.verifyReport(report, identity, { ...on, chainId: 1 }), refused);
    const of = corechain.registryDomain(domain.chainId, domain.registry);
    const consent = corechain.activationDigest(of, bytes(row.device), bytes(row.owner));
    assert.equal(hex(consent), row.activationDigest);
    corechain.verifySignature(identity, consent, row.activationSignature);
  }
});

test("a voucher pays what it says, and no more", () => {
  const row = vectors("channels");
  const domain = corechain.paymentDomain(row.domain.chainId, row.domain.paymentChannels);
  const config = {
    payer: row.payer,
    payerAuthorizer: row.payer,
    receiver: row.receiver,
    receiverAuthorizer: row.receiver,
    token: row.token,
    withdrawDelay: row.withdrawDelay,
    salt: row.salt,
  };
  assert.equal(hex(corechain.channelId(domain, config)), row.paymentChannelId);
  const amount = BigInt(row.amount);
  const voucher = { channelId: row.paymentChannelId, amount };
  assert.equal(hex(corechain.voucherDigest(domain, voucher)), row.voucherDigest);
  const check = (changes, money) =>
    corechain.checkVoucher(domain, config, { ...voucher, ...changes }, row.voucherSignature, {
      deposit: amount,
      held: 0n,
      due: amount,
      ...money,
    });
  check();
  assert.throws(() => check({ amount: amount + 1n }), named("InvalidSignature"));
  assert.throws(() => check({}, { held: amount }), named("VoucherRegressed"));
  assert.throws(() => check({}, { due: amount + 1n }), named("VoucherMiscounted"));
  assert.throws(() => check({}, { deposit: amount - 1n }), named("PaymentRequired"));
});

test("a reward claim is under the root", () => {
  const { root, claims } = vectors("rewards");
  for (const row of claims) {
    const claim = { ...row, cumulative: BigInt(row.cumulative), proof: row.proof.map(bytes) };
    corechain.verifyClaim(bytes(root), claim);
    const more = { ...claim, cumulative: claim.cumulative + 1n };
    assert.throws(() => corechain.verifyClaim(bytes(root), more), named("InvalidProof"));
  }
});

test("consents to a transfer and to a rotation are digested as in the contract", () => {
  const row = vectors("fleets");
  const domain = corechain.registryDomain(row.domain.chainId, row.domain.registry);
  const [device, successor, owner] = [row.device, row.successor, row.owner].map(bytes);
  const { transferNonce, transferDeadline } = row;
  const digest = corechain.transferDigest(
    domain, device, owner, bytes(row.transferTo), BigInt(transferNonce), transferDeadline,
  );
  assert.equal(hex(digest), row.transferDigest);
  const rotation = corechain.rotationDigest(domain, device, successor, owner);
  const identity = { device: row.successor, keyType: "secp256k1" };
  corechain.verifySignature(identity, rotation, row.rotationSignature);
});
