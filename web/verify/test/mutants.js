/** Do the golden vectors notice when a check is gone? `npm run mutants`; not a part of `make test`.
 *
 * Each mutant is the compiled package with one piece of its text replaced. One that survives is a check
 * that no vector tries. Left out are checks that others repeat: a receipt's position beyond its count leads
 * to a padded leaf, which nothing proves. */

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const FOLDER = at("../node_modules/.mutants/");
const MUTANTS = [
  ["merkle.js", "if (!equal(rootFromProof(leaf, position, proof), root))", "if (false)"],
  ["merkle.js", "position % 2 ? parent(sibling, node) : parent(node, sibling)", "parent(node, sibling)"],
  ["merkle.js", "position >= 2 ** proof.length", "false"],
  ["merkle.js", "!Number.isInteger(position) || ", ""],
  ["bytes.js", "return areBytes && ", "return "],
  ["channel.js", "amount(\"due\", due);", ""],
  ["states.js", "whole(\"held\", held, -1, VERSION_MAX);", ""],
  ["keys.js", "!equal(recoverSigner(digest, signed), device)", "false"],
  ["keys.js", "!holds(() => p256.verify(", "!holds(() => true || p256.verify("],
  ["channel.js", "voucher.amount <= held", "voucher.amount < held"],
  ["channel.js", "voucher.amount < due", "false"],
  ["channel.js", "voucher.amount > deposit", "false"],
  ["channel.js", "voucherSigner(config))", "recoverSigner(voucherDigest(domain, voucher), signatureOf(signature)))"],
  ["rewards.js", "uint(claim.cumulative,", "uint(0,"],
  ["receipts.js", " || list(\"siblings\", siblings).length !== depthOf(receipt.count)", ""],
  ["receipts.js", "verifyInclusion(root, hash26(report), position, way);", ""],
  ["receipts.js", "!equal(recoverSigner(digest", "false && !equal(recoverSigner(digest"],
  ["receipts.js", "uintWord(since), uintWord(commitBy)", "uintWord(commitBy), uintWord(since)"],
  ["receipts.js", "if (position >= count)", "if (false)"],
  ["fleets.js", "!equal(hash26(sealed)", "false && !equal(hash26(sealed)"],
  ["fleets.js", "isZero(device) || ", ""],
  ["fleets.js", "(position % IDS_A_LEAF) * ID_BYTES", "0"],
  ["fleets.js", "verifyMember(device, listing);", ""],
  ["fleets.js", "verifyReport(report", "false && verifyReport(report"],
  ["states.js", "state.version <= held", "state.version < held"],
  ["states.js", "state.balanceA > deposit", "false"],
  ["states.js", "!equal(octets(\"channelId\", record(\"state\", state).channelId, 32), stateChannelId(terms, on))", "false"],
  ["states.js", "[\"A\", partyA, a], [\"B\", partyB, b]", "[\"A\", partyA, a]"],
  ["states.js", "[\"A\", partyA, a], [\"B\", partyB, b]", "[\"B\", partyB, b]"],
  ["states.js", "structHash(CLOSE_TYPE", "structHash(STATE_TYPE"],
  ["statistics.js", "new RangeIncomplete(", "new InvalidProof("],
  ["header.js", "header.windowStart", "header.windowEnd"],
];

/** Whether the vectors fail. Throws Error for a mutant whose text is not there. */
function isNoticed([file, old, changed], number) {
  const folder = `${FOLDER}${number}`;
  cpSync(at("../dist"), folder, { recursive: true });
  const text = readFileSync(`${folder}/${file}`, "utf8");
  if (!text.includes(old)) throw new Error(`mutant ${number}: ${file} has no ${old}`);
  writeFileSync(`${folder}/${file}`, text.replaceAll(old, changed));
  writeFileSync(`${folder}/package.json`, '{"type":"module"}');
  const env = { ...process.env, CORECHAIN_VERIFY: `${folder}/index.js` };
  return spawnSync(process.execPath, ["--test", at("vectors.test.js")], { env, stdio: "ignore" }).status !== 0;
}

rmSync(FOLDER, { recursive: true, force: true });
mkdirSync(FOLDER, { recursive: true });
const survivors = MUTANTS.filter((mutant, number) => !isNoticed(mutant, number));
rmSync(FOLDER, { recursive: true, force: true });
for (const [file, old, changed] of survivors) console.log(`survives: ${file}: ${old} -> ${changed || "nothing"}`);
console.log(`${MUTANTS.length - survivors.length} of ${MUTANTS.length} mutants are noticed by the vectors`);
process.exit(survivors.length ? 1 : 0);
