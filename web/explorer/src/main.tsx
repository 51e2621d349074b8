import { render } from "preact";
import { App } from "./app";
import { node, nodeInUse } from "./chain";
import { forget, openAgain } from "./proofs";
import "./style.css";

let before = "";
let wasReady = false;
node.watch(() => {
  const url = nodeInUse();
  // Verdicts are one node's: what another one says may differ.
  if (before !== "" && url !== before) forget();
  before = url;
  const isReady = node.value.kind === "ready";
  // With each look that finds it: what failed while nobody looked is tried again, too.
  if (isReady) openAgain(!wasReady);
  wasReady = isReady;
});
render(<App />, document.getElementById("app")!);
