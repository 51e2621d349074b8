const assert = require("node:assert");
const { ethers } = require("hardhat");

const START = 1_359_720_000n;
const CLOSES_AT = START + 2n * 86_400n - 1n;
const NOBODY = "0x" + "00".repeat(20);

function anchor(batchId) {
  return { batchId, commitment: "0x" + "00".repeat(26), place: { anchorId: batchId, member: 0, path: [] } };
}

// No batch of the day holds a reading: what comes behind it closes the time.
const NOTHING = { before: anchor(0n), steps: [], behind: anchor(1n) };

describe("Hot", () => {
  let hot;
  let stub;

  beforeEach(async () => {
    stub = await ethers.deployContract("Stub");
    hot = await ethers.deployContract("Hot", [stub.target]);
  });

  it("is not hot where nothing was measured", async () => {
    await stub.commit(1n, CLOSES_AT + 1n);
    await hot.settle(1n, NOBODY, START, NOTHING);
    assert.equal(await hot.wasHot(), false);
  });

  it("takes no answer while readings of the day may still be committed", async () => {
    await stub.commit(1n, CLOSES_AT);
    await assert.rejects(hot.settle(1n, NOBODY, START, NOTHING), /RangeIncomplete\(1\)/);
  });
});
