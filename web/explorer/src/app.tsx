/** The frame of all pages: where one is, whom one believes, what happens. */

import type { ComponentChildren } from "preact";
import { useEffect, useErrorBoundary, useRef } from "preact/hooks";
import { get, useLoaded, type Status } from "./api";
import { askAnew, learnNetwork, lookAtNode, moved, network, node, watchNode } from "./chain";
import { number } from "./format";
import { changes, follow, live, newest, type BatchEvent } from "./live";
import { forget, lies, opened, titleOf, verdictOf } from "./proofs";
import { place, to } from "./router";
import { chooseTheme, theme, wrongApi, type Theme } from "./settings";
import { useStore } from "./store";
import { BatchPage, BatchesPage } from "./pages/batches";
import { ChannelsPage } from "./pages/channels";
import { MapPage } from "./pages/map";
import { NodePage } from "./pages/node";
import { OwnerPage, RewardsPage } from "./pages/rewards";
import { StationPage } from "./pages/station";
import { Seal } from "./ui/mark";
import { StepsPanel } from "./ui/steps";

const TABS = [
  { path: "", name: "Stations", also: "station" },
  { path: "batches", name: "Batches", also: "" },
  { path: "rewards", name: "Rewards", also: "" },
  { path: "channels", name: "Channels", also: "" },
];
const NETWORK_AGAIN_MS = 3_000;

function page(path: string[]) {
  const [first = "", second] = path;
  if (first === "") return <MapPage />;
  if (first === "station" && second) return <StationPage key={second} id={second} />;
  if (first === "batches") return second ? <BatchPage key={second} id={second} /> : <BatchesPage />;
  if (first === "rewards") return second ? <OwnerPage key={second} owner={second} /> : <RewardsPage />;
  if (first === "channels") return <ChannelsPage />;
  if (first === "node") return <NodePage />;
  return (
    <div class="page"><div class="state"><strong>There is no such page</strong><p><a href={to("")}>All stations</a></p></div></div>
  );
}

export function App() {
  const { path } = useStore(place);
  const main = useRef<HTMLElement>(null);
  const where = path.join("/");
  const isFirst = useRef(true);
  useEffect(() => {
    if (wrongApi !== null) return;
    watchNode();
    follow(reconsider);
    const learn = (): void => void learnNetwork().then(lookAtNode, () => setTimeout(learn, NETWORK_AGAIN_MS));
    learn();
    return newest.watch(() => newest.value?.type === "undone" && reconsider());
  }, []);
  useEffect(() => {
    opened.set(null);
    const tab = TABS.find((each) => each.path === (path[0] ?? ""))?.name ?? (path[0] === "node" ? "Your node" : "Station");
    document.title = `${tab} · CoreChain explorer`;
    // Who moves by keyboard goes on from the new page, not from where the old link was.
    if (!isFirst.current) main.current?.focus({ preventScroll: true });
    isFirst.current = false;
    scrollTo(0, 0);
  }, [where]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); main.current?.focus(); }}>To the content</a>
      <Head path={path} />
      <Alarm />
      <main id="main" ref={main} tabIndex={-1} class={path.length ? "" : "wide"}>
        {wrongApi === null ? <Guarded key={where}>{page(path)}</Guarded> : <NoApi named={wrongApi} />}
      </main>
      <StepsPanel />
      {wrongApi === null && <Guarded isQuiet><Foot /></Guarded>}
    </>
  );
}

function NoApi({ named }: { named: string }) {
  return (
    <div class="page"><div class="state state-failed" role="alert"><strong>That is no address of an API</strong><p><code>?api=</code> takes one that begins with http:// or https://, and not <code>{named.slice(0, 100)}</code>.</p></div></div>
  );
}

/** A part of the page, or that it cannot be shown: an API may leave out what a part needs. */
function Guarded({ children, isQuiet = false }: { children: ComponentChildren; isQuiet?: boolean }) {
  const [error, again] = useErrorBoundary();
  if (error === undefined || error === null) return <>{children}</>;
  if (isQuiet) return null;
  return (
    <div class="page"><div class="state state-failed" role="alert">
      <strong>This cannot be shown</strong>
      <p>What the API answered is not of the form that it documents: {String((error as Error).message ?? error).slice(0, 200)}</p>
      <p><button type="button" class="button" onClick={again}>Show it again</button></p>
    </div></div>
  );
}

/** A reorganisation has taken blocks away: what was checked is to be checked against the new ones. */
function reconsider(): void {
  askAnew();
  forget();
}

function Head({ path }: { path: string[] }) {
  const first = path[0] ?? "";
  return (
    <header class="head">
      <a class="wordmark" href={to("")} aria-label="CoreChain explorer, all stations">
        <svg viewBox="0 0 32 32" aria-hidden="true"><path d="M16 2.5 27.7 9.25v13.5L16 29.5 4.3 22.75V9.25z" /><path d="m10.5 16.3 3.8 3.8 7.4-8" /></svg>
        <span>CoreChain <small>explorer</small></span>
      </a>
      <nav aria-label="Pages">
        {TABS.map(({ path: goal, name, also }) => (
          <a key={name} href={to(goal)} aria-current={first === goal || (also !== "" && first === also) ? "page" : undefined}>{name}</a>
        ))}
        <a href={new URL("../docs", document.baseURI).href}>API</a>
      </nav>
      <NodeChip />
      <ThemeSwitch />
    </header>
  );
}

function NodeChip() {
  const state = useStore(node);
  const kind = { none: "idle", asking: "running", ready: "holds", wrong: "unknown" } as const;
  const words = {
    none: "No node: nothing is checked",
    asking: "Asking your node …",
    ready: `Your node: block ${"head" in state ? number(state.head) : ""}`,
    wrong: "Your node cannot be used",
  };
  return <a class={`node-chip node-${state.kind}`} href={to("node")}><Seal kind={kind[state.kind]} />{words[state.kind]}</a>;
}

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const THEME_WORDS: Record<Theme, string> = { system: "as the system", light: "light", dark: "dark" };

function ThemeSwitch() {
  const chosen = useStore(theme);
  const name = `Colours: ${THEME_WORDS[chosen]}. Change to ${THEME_WORDS[NEXT[chosen]]}`;
  return (
    <button type="button" class="theme" aria-label={name} title={name} onClick={() => chooseTheme(NEXT[chosen])}>
      <svg viewBox="0 0 20 20" aria-hidden="true"><circle cx="10" cy="10" r="7" />{chosen !== "light" && <path d={chosen === "dark" ? "M10 3a7 7 0 0 1 0 14 7 7 0 0 1 0-14z" : "M10 3a7 7 0 0 1 0 14z"} />}</svg>
    </button>
  );
}

/** What the chain contradicts is said on top of every page, until it is looked into. */
function Alarm() {
  const keys = useStore(lies);
  const changed = useStore(moved);
  if (!keys.length && !changed.length) return null;
  return (
    <section class="alarm-bar" role="alert">
      {keys.length > 0 && (
        <>
          <p><strong>Do not rely on this API.</strong> {keys.length === 1 ? "One value that it gave is" : `${number(keys.length)} values that it gave are`} not what the chain says:</p>
          <ul>
            {keys.slice(0, 5).map((key) => <Lie key={key} of={key} />)}
            {keys.length > 5 && <li>and {number(keys.length - 5)} more</li>}
          </ul>
        </>
      )}
      {changed.length > 0 && <p>It names other contracts than before. <a href={to("node")}>Compare them</a></p>}
    </section>
  );
}

function Lie({ of }: { of: string }) {
  const verdict = useStore(verdictOf(of));
  return <li>{titleOf(of)}{"why" in verdict && <small> {verdict.why}</small>}</li>;
}

function Foot() {
  const count = useStore(changes);
  const state = useStore(live);
  const event = useStore(newest);
  const known = useStore(network);
  const status = useLoaded(() => get<Status>("v1/status"), [count]);
  const words = { connecting: "connecting to the stream", live: "live", lost: "no stream" };
  return (
    <footer class="foot">
      <span class={`live live-${state}`}>{words[state]}</span>
      <span role="log" aria-live="polite" class="ticker">{event ? sentence(event) : "Waiting for the next batch"}</span>
      {status.data && (
        <span class="counts">
          chain {status.data.chain_id} · indexed to block {number(status.data.indexed_block)}
          {status.data.lag_blocks ? ` (${number(status.data.lag_blocks)} behind)` : ""} · {number(status.data.readings)} readings
        </span>
      )}
      {!known && <span class="counts">The API does not answer yet</span>}
    </footer>
  );
}

function sentence({ type, batch_id: id, readings, block }: BatchEvent): string {
  if (type === "new") return `Batch ${number(id)} verified: ${number(readings ?? 0)} readings, block ${number(block)}`;
  if (type === "final") return `Batch ${number(id)} is final`;
  return `Batch ${number(id)} was undone by a reorganisation of the chain`;
}
