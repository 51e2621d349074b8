#!/usr/bin/env node
// The command line of solc in front of the compiler from npm, as far as ape, forge and slither use it:
// --version and --standard-json. Used only where the native compiler cannot be downloaded.
"use strict";
const fs = require("fs");
const path = require("path");

const root = path.dirname(__dirname);
const versionCache = path.join(root, ".solcx", "npm-solc-version");

function compiler() {
  return require(path.join(root, "node_modules", "solc"));
}

function version() {
  // Loading the compiler costs half a second, and every tool asks for the version first.
  const installed = require(path.join(root, "node_modules", "solc", "package.json")).version;
  if (fs.existsSync(versionCache)) {
    const cached = fs.readFileSync(versionCache, "utf8");
    if (cached.startsWith(installed)) return cached;
  }
  const found = compiler().version();
  fs.mkdirSync(path.dirname(versionCache), { recursive: true });
  fs.writeFileSync(versionCache, found);
  return found;
}

function optionValues(names) {
  const values = [];
  process.argv.forEach((argument, index) => {
    const [name, value] = argument.split(/=(.*)/s);
    if (names.includes(name)) values.push(value ?? process.argv[index + 1]);
  });
  return values.filter(Boolean);
}

function importCallback() {
  const folders = [...optionValues(["--base-path"]), ...optionValues(["--include-path", "-I"]), "."];
  return {
    import: (name) => {
      for (const folder of folders) {
        const file = path.resolve(folder, name);
        if (fs.existsSync(file)) return { contents: fs.readFileSync(file, "utf8") };
      }
      return { error: `${name} not found in ${folders.join(", ")}` };
    },
  };
}

function standardJson() {
  const at = process.argv.indexOf("--standard-json");
  const next = process.argv[at + 1];
  const file = next && !next.startsWith("-") ? next : 0;
  const output = compiler().compile(fs.readFileSync(file, "utf8"), importCallback());
  process.stdout.write(output);
}

if (process.argv.includes("--version")) {
  console.log("solc, the solidity compiler commandline interface");
  console.log(`Version: ${version()}`);
} else if (process.argv.includes("--standard-json")) {
  standardJson();
} else {
  console.error("solc-shim understands --version and --standard-json only");
  process.exit(1);
}
