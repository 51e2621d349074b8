/** Judges cases that another implementation has made: a JSON document a line comes in, a verdict a
 * line goes out, ["ok", what is proven] or ["error", its name]. tests/web compares them with
 * Python's. */

import { createInterface } from "node:readline";

import * as corechain from "../dist/index.js";

const { hex, parseJson } = corechain;
const bytes = (text) => corechain.octets("case", text, (text.length - 2) / 2);
const all = (texts) => texts.map(bytes);
const word = (text) => "0x" + text.slice(2).padEnd(64, "0");
const selector = (text) => hex(corechain.keccak(new TextEncoder().encode(text)).slice(0, 4));
const COMMITMENT_OF = selector("commitmentOf(uint48)");
const CONTRACT = "0x" + "22".repeat(20);

/** A chain that has the case's words in its ring, and nothing in its log. */
const providerOf = ({ words, root }) => ({
  async request({ method, params }) {
    if (method === "eth_chainId") return "0x7a69";
    if (method === "eth_blockNumber") return "0x3e8";
    if (method === "eth_getLogs") return [];
    const { data } = params[0];
    if (!data.startsWith(COMMITMENT_OF)) return "0x" + "00".repeat(31) + "07" + word(root).slice(2);
    const found = words[String(Number("0x" + data.slice(10)))];
    if (found !== undefined) return word(found);
    throw { code: 3, message: "execution reverted", data: selector("UnknownBatch(uint48)") };
  },
});

const readingShown = ({ metric, cell, device, observedAt, value, flag }) => [
  metric, String(cell), device, observedAt, value, flag,
];
const locatedShown = ({ batchId, position, reading }) => [batchId, position, ...readingShown(reading)];
const statisticsShown = ({ count, sum, min, max }) => [count, String(sum), min, max];
const shown = {
  reading: locatedShown,
  readings: ({ readings }) => readings.map(locatedShown),
  statistics: statisticsShown,
  region: statisticsShown,
  reward: ({ owner, cumulative }) => [owner, String(cumulative)],
};

async function answer(made) {
  const { question } = made;
  const options = { rpc: providerOf(made), chainId: 31337, dataBatches: CONTRACT, coreToken: CONTRACT };
  const { value, steps } = await corechain.verifyAnswer(made.answer, { question, ...options });
  if (!steps.every(({ holds }) => holds)) throw new Error("a step does not hold, yet all is proven");
  return shown[question.kind](value);
}

const headerOf = (link) => ({
  batchId: link.batch_id,
  previous: bytes(link.previous),
  ancestor: bytes(link.ancestor),
  statisticsRoot: bytes(link.statistics_root),
  reportsRoot: bytes(link.reports_root),
  dataHash: bytes(link.data_hash),
  rulesHash: bytes(link.rules_hash),
  readingCount: link.reading_count,
  reportCount: link.report_count,
  windowStart: link.window_start,
  windowEnd: link.window_end,
});

const judges = {
  answer,
  range: (made) => {
    const proof = { leaves: all(made.leaves), nodes: all(made.nodes).map(corechain.unpackNode) };
    const [root, low, high] = all([made.root, made.low, made.high]);
    const { count, from, to } = made;
    return statisticsShown(corechain.verifyRange(root, count, from, to, low, high, proof));
  },
  multiproof: ({ root, leaves, positions, depth, nodes }) =>
    corechain.verifyMultiproof(bytes(root), all(leaves), positions, depth, all(nodes)),
  spans: ({ cells, resolution }) =>
    corechain.spansOf(cells, resolution).map((span) => span.map(String)),
  report: (made) => corechain.verifyReport({ ...made, sequence: BigInt(made.sequence) }, made, made),
  voucher: (made) =>
    corechain.checkVoucher(
      corechain.paymentDomain(made.chainId, made.paymentChannels),
      made.config,
      { channelId: made.channelId, amount: BigInt(made.amount) },
      made.signature,
      { deposit: BigInt(made.deposit), held: BigInt(made.held), due: BigInt(made.due) },
    ),
  trail: ({ target, commitment, links }) =>
    corechain.verifyTrail(
      target,
      bytes(commitment),
      links.map((link) => ({ header: headerOf(link), readingsRoot: bytes(link.readings_root) })),
    ),
  place: ({ word, grouped, batchId, commitment, anchorId, member, path }) =>
    corechain.verifyPlace(bytes(word), grouped, batchId, bytes(commitment), {
      anchorId,
      member,
      path: all(path),
    }),
};

async function verdictOn(made) {
  try {
    return ["ok", (await judges[made.kind](made)) ?? null];
  } catch (error) {
    if (!(error instanceof corechain.CoreChainError)) throw error;
    const { steps } = error;
    if (steps.some(({ holds }, i) => holds === (i === steps.length - 1))) {
      throw new Error("not the last step alone does not hold");
    }
    return ["error", error.name];
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await verdictOn(parseJson(line))));
}
