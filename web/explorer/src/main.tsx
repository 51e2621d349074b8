import { render } from "preact";
import { App } from "./app";
import { node, nodeInUse } from "./chain";
import { forget } from "./proofs";
import "./style.css";

let before = "";
node.watch(() => {
  const url = nodeInUse();
  // Verdicts are one node's: what another one says may differ.
  if (before !== "" && url !== before) forget();
  before = url;
});
render(<App />, document.getElementById("app")!);
