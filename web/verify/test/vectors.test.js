/** The golden vectors of tests/vectors: the same files that Python and Solidity are held to. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { runInNewContext } from "node:vm";

// Of a mutant, or the package as it is: test/mutants.js.
const corechain = await import(process.env.CORECHAIN_VERIFY ?? "../dist/index.js");

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

test("a receipt promises its report, of its lane, on its chain, by its signer", () => {
  const { domain, dataBatches, signer, receipts } = vectors("receipts");
  const on = { chainId: domain.chainId, dataBatches };
  for (const row of receipts) {
    const kept = corechain.unpackReceipt(bytes(row.packed));
    assert.equal(hex(corechain.packReceipt(kept)), row.packed);
    assert.equal(hex(kept.receipt.root), row.root);
    const { lane, since, commitBy, count, position } = row;
    assert.deepEqual({ ...kept.receipt, root: 0 }, { lane, since, commitBy, count, root: 0 });
    assert.equal(kept.position, position);
    assert.deepEqual(kept.siblings.map(hex), row.siblings);
    const digest = corechain.receiptDigest(corechain.batchesDomain(on.chainId, dataBatches), kept.receipt);
    assert.equal(hex(digest), row.digest);
    const report = bytes(row.report);
    corechain.verifyReceipt(kept, report, signer, on);

    const check = (changes, other = report, by = signer, where = on) => () =>
      corechain.verifyReceipt({ ...kept, ...changes }, other, by, where);
    const promised = (changes) => check({ receipt: { ...kept.receipt, ...changes } });
    const [proof, signature] = [named("InvalidProof"), named("InvalidSignature")];
    assert.throws(check({}, report.map((byte, i) => (i === 30 ? byte ^ 1 : byte))), proof);
    assert.throws(check({ siblings: [...kept.siblings, new Uint8Array(26)] }), proof);
    assert.throws(check({ position: position + count }), proof);
    if (count > 1) {
      // An inner node of the tree as if it were a report: at another depth than the count's.
      const pair = [corechain.hash26(report), kept.siblings[0]];
      const inner = new Uint8Array((position % 2 ? pair.reverse() : pair).flatMap((hash) => [...hash]));
      assert.throws(check({ position: position >> 1, siblings: kept.siblings.slice(1) }, inner), proof);
    }
    assert.throws(check({}, report, dataBatches), signature);
    assert.throws(check({}, report, signer, { ...on, chainId: 1 }), signature);
    assert.throws(check({}, report, signer, { ...on, dataBatches: signer }), signature);
    assert.throws(promised({ lane: lane ^ 1 }), signature);
    assert.throws(promised({ since: since - 1 }), signature);
    assert.throws(promised({ commitBy: commitBy + 1 }), signature);
    assert.throws(promised({ lane: 2 ** 16 }), named("ValueOutOfRange"));
    for (const end of [kept.siblings.length ? -26 : -1, -4]) {
      assert.throws(() => corechain.unpackReceipt(bytes(row.packed).subarray(0, end)), named("MalformedReceipt"));
    }
    const nobody = bytes(row.packed).fill(0, 38, 42);
    assert.throws(() => corechain.unpackReceipt(nobody), named("MalformedReceipt"));
    const beyond = bytes(row.packed).fill(255, 106, 110);
    assert.throws(() => corechain.unpackReceipt(beyond), named("MalformedReceipt"));
  }
});

test("a fleet lists its devices, each at its place, for its owner and kind of key", () => {
  const { owner, fleets } = vectors("fleets");
  const kinds = { 1: "secp256k1", 2: "p256" };
  for (const { keyType, root, positions, devices, proofs } of fleets) {
    devices.forEach((device, i) => {
      const listing = { fleet: root, owner, keyType: kinds[keyType], position: positions[i], proof: bytes(proofs[i]) };
      corechain.verifyMember(device, listing);
      const refused = (changes, of = device) =>
        assert.throws(() => corechain.verifyMember(of, { ...listing, ...changes }), named("InvalidProof"));
      refused({ position: listing.position + 1 });
      refused({ position: listing.position + 4 });
      refused({ position: -1 });
      refused({ owner: device });
      refused({ keyType: kinds[3 - keyType] });
      refused({ proof: listing.proof.subarray(1) });
      refused({ proof: listing.proof.map((byte, at) => (at === 59 ? byte ^ 1 : byte)) });
      refused({ proof: new Uint8Array(60 + 11 * 26) });
      refused({}, owner);
      refused({}, "0x" + "00".repeat(20));
    });
    // The last leaf is filled up with zeros: nobody is listed there.
    const last = positions.at(-1);
    if (last % 4 === 3) continue;
    const proof = bytes(proofs.at(-1));
    proof.set(bytes(devices.at(-1)), 20 * (last % 4));
    const listing = { fleet: root, owner, keyType: kinds[keyType], position: last + 1, proof };
    assert.throws(() => corechain.verifyMember("0x" + "00".repeat(20), listing), named("InvalidProof"));
  }
});

test("a report of a fleet's device counts by its place and its signature", () => {
  const { domain, reports } = vectors("reports");
  const on = { chainId: domain.chainId, deviceRegistry: domain.registry };
  for (const row of reports) {
    const keyType = row.keyType === 2 ? "p256" : "secp256k1";
    const [device, owner] = [bytes(row.device), bytes(row.owner)];
    const proof = new Uint8Array(60);
    const leaf = corechain.hash26(new Uint8Array([...device, ...proof]));
    const fleet = corechain.hash26(new Uint8Array([...leaf, ...owner, row.keyType]));
    const listing = { fleet, owner, keyType, position: 0, proof };
    const report = { ...row, sequence: BigInt(row.sequence) };
    const key = { device, publicKey: row.x + row.y.slice(2) };
    corechain.verifyFleetReport(report, key, listing, on);
    const later = { ...report, sequence: report.sequence + 1n };
    assert.throws(() => corechain.verifyFleetReport(later, key, listing, on), named("InvalidSignature"));
    const other = { ...listing, owner: device };
    assert.throws(() => corechain.verifyFleetReport(report, key, other, on), named("InvalidProof"));
  }
});

test("a state of a channel counts with both signatures, and no close passes as one", () => {
  const row = vectors("channels");
  const on = { chainId: row.domain.chainId, stateChannels: row.domain.stateChannels };
  const { challengePeriod, openBefore, token } = row;
  const terms = { partyA: row.payer, partyB: row.receiver, token, challengePeriod, openBefore, salt: row.stateSalt };
  assert.equal(hex(corechain.stateChannelId(terms, on)), row.stateChannelId);
  const domain = corechain.stateDomain(on.chainId, on.stateChannels);
  const balanceA = BigInt(row.balanceA);
  const state = { channelId: row.stateChannelId, version: row.version, balanceA };
  assert.equal(hex(corechain.stateDigest(domain, state)), row.stateDigest);
  assert.equal(hex(corechain.closeDigest(domain, row.stateChannelId, balanceA)), row.closeDigest);
  const signed = { a: row.stateSignatureA, b: row.stateSignatureB };
  const closing = { a: row.closeSignatureA, b: row.closeSignatureB };
  const money = { deposit: balanceA, held: row.version - 1 };
  const check = ({ of = {}, by = signed, with: more = {}, where = on, under = terms } = {}) =>
    corechain.verifyState(under, { ...state, ...of }, by, where, { ...money, ...more });
  check();
  const refused = (changes, name) => assert.throws(() => check(changes), named(name));
  refused({ of: { version: row.version + 1 } }, "InvalidSignature");
  refused({ of: { balanceA: balanceA - 1n } }, "InvalidSignature");
  refused({ of: { channelId: row.paymentChannelId } }, "InvalidSignature");
  refused({ where: { ...on, chainId: 1 } }, "InvalidSignature");
  refused({ under: { ...terms, challengePeriod: 1 } }, "InvalidSignature");
  refused({ by: { a: signed.b, b: signed.b } }, "InvalidSignature");
  refused({ by: { a: signed.a, b: signed.a } }, "InvalidSignature");
  refused({ by: closing }, "InvalidSignature");
  refused({ with: { held: row.version } }, "StaleState");
  refused({ with: { deposit: balanceA - 1n } }, "BalanceOverDeposit");
  refused({ of: { version: 2 ** 40 } }, "ValueOutOfRange");
  refused({ of: { balanceA: 2n ** 88n } }, "ValueOutOfRange");
  corechain.verifyClose(terms, balanceA, closing, on);
  for (const [amount, by] of [[balanceA + 1n, closing], [balanceA, signed]]) {
    assert.throws(() => corechain.verifyClose(terms, amount, by, on), named("InvalidSignature"));
  }
});

/** Anything that JavaScript hands on; none of it is bytes, a whole number or a list. */
const ODD = [
  undefined, null, true, -1, 0.5, NaN, Infinity, 2 ** 60, -1n, 2n ** 300n, "", "0x", "zz", "__proto__",
  [null], new Array(26), {}, Object.create(null), { length: 26 }, "a".repeat(26), Symbol("odd"), () => 1,
  new Date(NaN), new Uint8Array(3),
];
const filled = (size) => new Uint8Array(size).fill(7);
const ADDRESS = "0x" + "22".repeat(20);
const ON = { chainId: 1, dataBatches: ADDRESS, deviceRegistry: ADDRESS, stateChannels: ADDRESS };
const DOMAIN = corechain.registryDomain(1, ADDRESS);
const CONFIG = {
  payer: ADDRESS, payerAuthorizer: ADDRESS, receiver: ADDRESS, receiverAuthorizer: ADDRESS,
  token: ADDRESS, withdrawDelay: 900, salt: filled(32),
};
const TERMS = {
  partyA: ADDRESS, partyB: ADDRESS, token: ADDRESS, challengePeriod: 900, openBefore: 1, salt: filled(5),
};
const RECEIPT = { lane: 0, since: 1, commitBy: 1, root: filled(26), count: 1 };
const KEPT = { receipt: RECEIPT, signature: filled(64), position: 0, siblings: [] };
const STATE = { channelId: filled(32), version: 1, balanceA: 1n };
const CELL = 0x872a10728ffffffn;
const READING = { metric: 1, cell: CELL, observedAt: 1, value: 1, flag: 1, device: ADDRESS };
const REPORT = { sequence: 1, observations: filled(19), signature: filled(64) };
const IDENTITY = { device: ADDRESS, keyType: "secp256k1" };
const LISTING = { fleet: filled(26), owner: ADDRESS, keyType: "p256", position: 0, proof: filled(60) };
const CALLS = {
  activationDigest: [DOMAIN, filled(20), filled(20)],
  ancestorOf: [5],
  batchId: [1, 1],
  cellOf: [CELL],
  cellText: [CELL],
  channelId: [DOMAIN, CONFIG],
  checkVoucher: [DOMAIN, CONFIG, { channelId: filled(32), amount: 1n }, filled(64), { deposit: 1n, held: 0n, due: 0n }],
  commitmentOf: [header, filled(26)],
  compactSignature: [filled(65)],
  depthOf: [3],
  deviceId: [filled(64)],
  groupLeaf: [1, filled(26)],
  hash26: [filled(3)],
  hex: [filled(3)],
  keysOf: [1, [CELL, CELL]],
  laneOf: [1],
  metricOf: [1],
  packKey: [1, CELL, filled(20), 1],
  packReading: [READING, filled(20)],
  packReceipt: [KEPT],
  parseJson: ["{}"],
  pathOf: [{ kind: "region", metric: 1, cells: [CELL], from: 1, to: 2 }],
  provenanceOf: [ADDRESS],
  recoverSigner: [filled(32), filled(64)],
  resolutionOf: [CELL],
  rootFromProof: [filled(26), 1, [filled(26)]],
  rootOf: [[filled(26)]],
  spansOf: [[CELL], 7],
  stateDigest: [DOMAIN, STATE],
  unpackNode: [filled(42)],
  unpackObservations: [filled(19)],
  unpackReading: [filled(40)],
  unpackReceipt: [filled(110)],
  verifyClaim: [filled(26), { owner: ADDRESS, cumulative: 1n, position: 0, proof: [] }],
  verifyClose: [TERMS, 1n, { a: filled(64), b: filled(64) }, ON],
  verifyFleetReport: [REPORT, IDENTITY, LISTING, ON],
  verifyInclusion: [filled(26), filled(26), 1, [filled(26)]],
  verifyMember: [ADDRESS, LISTING],
  verifyMultiproof: [filled(26), [filled(26)], [0], 0, []],
  verifyPlace: [filled(26), true, 1, filled(26), { anchorId: 1, member: 0, path: [] }],
  verifyRange: [filled(26), 1, 0, 1, filled(35), filled(35), { leaves: [filled(40)], nodes: [] }],
  verifyReceipt: [KEPT, filled(60), ADDRESS, ON],
  verifyReport: [REPORT, IDENTITY, ON],
  verifySignature: [IDENTITY, filled(32), filled(64)],
  verifyState: [TERMS, STATE, { a: filled(64), b: filled(64) }, ON, { deposit: 1n, held: 0 }],
  verifyTrail: [1, filled(26), [{ header, readingsRoot: filled(26) }]],
  voucherDigest: [DOMAIN, { channelId: filled(32), amount: 1n }],
};

/** A value with each of its parts, down to two levels, replaced by something odd. */
function* oddly(value, depth = 0) {
  yield* ODD;
  if (depth === 2 || value === null || typeof value !== "object" || value instanceof Uint8Array) return;
  for (const key of Object.keys(value)) {
    for (const odd of oddly(value[key], depth + 1)) {
      const made = Object.assign(Array.isArray(value) ? [] : Object.create(Object.getPrototypeOf(value)), value);
      made[key] = odd;
      yield made;
    }
  }
}

test("anything given to any function is taken or refused by name", () => {
  for (const [name, given] of Object.entries(CALLS)) {
    for (const [i, right] of given.entries()) {
      for (const odd of oddly(right)) {
        try {
          corechain[name](...given.map((one, j) => (j === i ? odd : one)));
        } catch (error) {
          assert(error instanceof corechain.CoreChainError, `${name}: ${error?.stack}`);
        }
      }
    }
  }
});

test("anything given to verifyAnswer, or said by a wallet, is a typed error", async () => {
  const right = { question: { kind: "batch", batchId: 1 }, rpc: "http://127.0.0.1:9", chainId: 1, dataBatches: ADDRESS };
  const batch = { batch_id: 1, state: "pending", commitment: hex(filled(26)), block: 1 };
  const tries = [...oddly(right)].map((options) => ["{}", options]);
  for (const odd of ODD) {
    tries.push([odd, right]);
    tries.push([batch, { ...right, rpc: { request: () => odd } }]);
    tries.push([batch, { ...right, rpc: { request: () => { throw odd; } } }]);
  }
  for (const [answer, options] of tries) {
    await assert.rejects(corechain.verifyAnswer(answer, options), corechain.CoreChainError);
  }
});

test("what is no position and what is no root proves nothing", () => {
  const [leaf, sibling] = [filled(26), filled(26).fill(9)];
  const roots = [0, 1].map((position) => corechain.rootFromProof(leaf, position, [sibling]));
  for (const position of [NaN, 0.5, "0", "1", null, true, false, [0], undefined]) {
    for (const root of roots) {
      assert.throws(() => corechain.verifyInclusion(root, leaf, position, [sibling]), named("InvalidProof"));
    }
  }
  for (const root of [new Array(26), { length: 26 }, "a".repeat(26)]) {
    assert.throws(() => corechain.verifyInclusion(root, leaf, 0, [sibling]), named("InvalidProof"));
  }
});

test("a voucher or a state is not judged by books that are missing", () => {
  const voucher = { channelId: corechain.channelId(DOMAIN, CONFIG), amount: 1n };
  for (const books of [undefined, {}, { deposit: 1n, held: 0n }, { deposit: 1n, held: 0n, due: NaN }]) {
    const check = () => corechain.checkVoucher(DOMAIN, CONFIG, voucher, filled(64), books);
    assert.throws(check, named("InvalidValue"));
  }
  const signatures = { a: filled(64), b: filled(64) };
  for (const books of [undefined, {}, { deposit: 1n }, { deposit: 1n, held: NaN }]) {
    assert.throws(() => corechain.verifyState(TERMS, STATE, signatures, ON, books), named("InvalidValue"));
  }
});

test("bytes of another frame are bytes, and what only says so is none", () => {
  const far = (size) => runInNewContext(`new Uint8Array(${size}).fill(7)`);
  assert(!(far(1) instanceof Uint8Array));
  assert.equal(hex(corechain.hash26(far(3))), hex(corechain.hash26(filled(3))));
  const root = corechain.rootFromProof(filled(26), 1, [filled(26)]);
  corechain.verifyInclusion(root, far(26), 1, [far(26)]);
  const error = (size) => {
    try {
      corechain.verifyState(TERMS, STATE, { a: size(65), b: size(64) }, ON, { deposit: 1n, held: 0 });
    } catch (found) {
      return found.message;
    }
  };
  assert.equal(error(far), error(filled));
  const said = { length: 3, [Symbol.toStringTag]: "Uint8Array" };
  assert.throws(() => corechain.hash26(said), named("InvalidValue"));
  assert.throws(() => corechain.hash26(new Uint16Array(3)), named("InvalidValue"));
});
