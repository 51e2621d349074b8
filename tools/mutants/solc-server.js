// The compiler from npm, loaded once for a whole campaign: standard JSON in, standard JSON out, over a socket.
"use strict";
const net = require("net");
const path = require("path");

const solc = require(path.join(process.argv[2], "node_modules", "solc"));

process.stdin.on("end", () => process.exit()).resume();

net
  .createServer({ allowHalfOpen: true }, (socket) => {
    const parts = [];
    socket.on("data", (part) => parts.push(part));
    socket.on("end", () => socket.end(solc.compile(Buffer.concat(parts).toString("utf8"))));
    socket.on("error", () => socket.destroy());
  })
  .listen(process.argv[3], () => console.log("ready"));
