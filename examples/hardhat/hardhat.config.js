const { subtask } = require("hardhat/config");
const { TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD } = require("hardhat/builtin-tasks/task-names");
require("@nomicfoundation/hardhat-ethers");

// The compiler that npm has: Hardhat would load its own from another site.
subtask(TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD, async ({ solcVersion }) => ({
  compilerPath: require.resolve("solc/soljson.js"),
  isSolcJs: true,
  version: solcVersion,
  longVersion: require("solc").version(),
}));

module.exports = {
  // The consumer library keeps many values at once, which the older pipeline has no room for.
  solidity: { version: "0.8.37", settings: { viaIR: true, optimizer: { enabled: true } } },
};
