/** CPU of each kind of proof: cases come in as one JSON document, microseconds go out. Which cases:
 * bench/web_verify.py. */

import { readFileSync } from "node:fs";

import * as corechain from "../dist/index.js";

const bytes = (text) => corechain.octets("case", text, (text.length - 2) / 2);
const cases = JSON.parse(readFileSync(0, "utf8"));
const { inclusion, range, page } = cases;

const works = {
  inclusion: () =>
    corechain.verifyInclusion(
      bytes(inclusion.root), corechain.hash26(bytes(inclusion.leaf)), inclusion.position, inclusion.proof.map(bytes),
    ),
  range: () =>
    corechain.verifyRange(
      bytes(range.root), range.count, range.from, range.to, bytes(range.low), bytes(range.high),
      { leaves: range.leaves.map(bytes), nodes: range.nodes.map(bytes).map(corechain.unpackNode) },
    ),
  page: () =>
    corechain.verifyMultiproof(
      bytes(page.root), page.leaves.map(bytes).map(corechain.hash26), page.positions, page.depth, page.nodes.map(bytes),
    ),
  secp256k1: () => corechain.verifyReport(cases.secp256k1, cases.secp256k1, cases),
  p256: () => corechain.verifyReport(cases.p256, cases.p256, cases),
};

function cpuUs(work) {
  const begun = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(begun);
  return user + system;
}

const found = {};
for (const [name, work] of Object.entries(works)) {
  const rounds = cases.rounds[name];
  for (let i = 0; i < rounds / 4; i++) work(); // until it is compiled
  const spent = Array.from({ length: 5 }, () =>
    cpuUs(() => {
      for (let i = 0; i < rounds; i++) work();
    }),
  );
  found[name] = Math.min(...spent) / rounds;
}
console.log(JSON.stringify(found));
