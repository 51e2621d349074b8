/** Whom this page believes: the user's node, the contracts, and nobody else. */

import { useState } from "preact/hooks";
import { moved, network, node, nodeInUse } from "../chain";
import { forget } from "../proofs";
import { API, checksAlways, chooseChecks, chooseNode, nodeUrl, pin, pinned } from "../settings";
import { useStore } from "../store";
import { Word } from "../ui/parts";

export function NodePage() {
  const known = useStore(network);
  return (
    <div class="page narrow">
      <header class="page-head">
        <h1>Your node</h1>
        <p class="lead">Everything on these pages comes from <code>{API.host}</code>, and none of it is believed. A seal fills when the answer follows from what the node named here says of the contract. Choose a node that is yours, or of somebody other than this server.</p>
      </header>
      <NodeForm key={known?.chain_id ?? 0} />
      {known && <Contracts />}
      <section class="block" aria-labelledby="page-word">
        <h2 id="page-word">And this page itself?</h2>
        <p>It was served by the API, so a dishonest one could serve a page that only pretends. Build your own from the source (<code>make explorer</code>), and open it over any other index: <code>/explorer/?api=https://…</code></p>
      </section>
    </div>
  );
}

function NodeForm() {
  const state = useStore(node);
  const always = useStore(checksAlways);
  useStore(nodeUrl);
  const [text, setText] = useState(nodeInUse());
  const [wrong, setWrong] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    const url = text.trim();
    if (url && !/^https?:\/\/[^\s]+$/.test(url)) return setWrong("A node's address begins with http:// or https://");
    setWrong("");
    forget();
    chooseNode(url);
  };
  return (
    <form class="node-form" onSubmit={submit}>
      <label for="node-url">JSON-RPC address of your node</label>
      <div class="row">
        <input id="node-url" value={text} onInput={(event) => setText(event.currentTarget.value)} placeholder="https://…" spellcheck={false} autocomplete="off" aria-describedby="node-says" aria-invalid={wrong !== ""} />
        <button class="button" type="submit">Use this node</button>
      </div>
      <p id="node-says" role="status" class={state.kind === "wrong" || wrong ? "alarm" : "soft"}>
        {wrong || said(state)}
      </p>
      <p class="soft">It is kept in this browser and sent to nobody. The node must allow pages to ask it (CORS); anvil, geth with <code>--http.corsdomain</code> and hosted nodes do.</p>
      <label class="check">
        <input type="checkbox" checked={always} onChange={(event) => chooseChecks(event.currentTarget.checked)} />
        Check values as they are shown, not only when a seal is pressed
      </label>
    </form>
  );
}

function said(state: typeof node.value): string {
  switch (state.kind) {
    case "none":
      return "No node is named: nothing can be checked.";
    case "asking":
      return "Asking …";
    case "ready":
      return `It answers: chain ${network.value?.chain_id}, block ${state.head.toLocaleString("en-GB")}.`;
    default:
      return state.why;
  }
}

function Contracts() {
  const known = useStore(network)!;
  const changed = useStore(moved);
  const kept = pinned(known.chain_id) ?? {};
  const trust = () => {
    pin(known.chain_id, Object.fromEntries(Object.entries(known.contracts).map(([name, { address }]) => [name, address])));
    moved.set([]);
    forget();
    location.reload();
  };
  return (
    <section class="block" aria-labelledby="contracts">
      <h2 id="contracts">Contracts of chain {known.chain_id}</h2>
      <p class="soft">As this browser first saw them. Compare them with the published manifest, <code>deployments/{known.chain_id}.json</code>: a false address is the one lie that no proof shows.</p>
      {changed.length > 0 && (
        <div class="state state-failed" role="alert">
          <strong>The API now names other contracts: {changed.join(", ")}</strong>
          <p>Checks go on with the ones that were kept. After a new deployment, or on another development network: <button type="button" class="link" onClick={trust}>take the new addresses</button></p>
        </div>
      )}
      <table>
        <thead><tr><th scope="col">Contract</th><th scope="col">Address</th><th scope="col">Since block</th></tr></thead>
        <tbody>
          {Object.entries(known.contracts).map(([name, { block }]) => (
            <tr key={name}><th scope="row">{name}</th><td><Word hex={kept[name] ?? known.contracts[name]!.address} /></td><td>{block}</td></tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
