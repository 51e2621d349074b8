/** Small parts of all pages: states, hashes, fields. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { ApiProblem, Batch, Finality, Loaded } from "../api";
import { short } from "../format";
import { API } from "../settings";

/** Data, or what there is instead of it. `heading`: of pages whose heading is a part of the data. */
export function Show<T>({ of, children, empty, isEmpty, heading }: {
  of: Loaded<T>;
  heading?: string;
  children: (data: T) => ComponentChildren;
  empty?: ComponentChildren;
  isEmpty?: (data: T) => boolean;
}) {
  const title = heading && <h1 class="unseen">{heading}</h1>;
  if (of.data === undefined) return <>{title}{of.error ? <Failed error={of.error} /> : <Waiting />}</>;
  const shown = isEmpty?.(of.data) ? <>{title}<div class="state">{empty}</div></> : children(of.data);
  return (
    <>
      {of.error && <Failed error={of.error} />}
      {shown}
    </>
  );
}

export function Waiting() {
  return (
    <div class="state" aria-busy="true">
      <span class="sweep" aria-hidden="true" />
      Reading …
    </div>
  );
}

export function Failed({ error }: { error: ApiProblem }) {
  const paid = error.status === 402;
  return (
    <div class="state state-failed" role="alert">
      <strong>{paid ? "Values cost something here" : error.title}</strong>
      <p>{paid ? "This index is paid a query. The SDK pays by itself (client.open_channel); the explorer shows what is free: batches, rewards, channels." : error.message}</p>
      {!paid && <p class="soft">{whatToDo(error)}</p>}
    </div>
  );
}

function whatToDo({ status, mayPass }: ApiProblem): ComponentChildren {
  if (mayPass) return <>It is asked again every three seconds: this page need not be reloaded. Whoever runs the index looks at <code>/ready</code>, which names what is away.</>;
  if (status === NOT_FOUND) return <>Nothing of this name is on the chain as far as the index has come. If it is new, it may come with the next block; else compare it with where you have it from, or begin at <a href="#/">all stations</a>.</>;
  if (status > 0) return <>Every path and what it takes: <a href={new URL("docs", API).href}>/docs</a>.</>;
  return <>That is a mistake of this page: reload it, and please tell us what you did.</>;
}

const NOT_FOUND = 404;

/** A long word, shortened to the eye, whole to copying and to screen readers' title. */
export function Word({ hex, link }: { hex: string; link?: string }) {
  const [copied, setCopied] = useState(false);
  const copy = () => {
    void navigator.clipboard?.writeText(hex).then(() => {
      setCopied(true);
      setTimeout(() => setCopied(false), 1_500);
    });
  };
  const text = <code title={hex}>{copied ? "copied" : short(hex)}</code>;
  if (link) return <a class="word" href={link}>{text}</a>;
  return <button type="button" class="word" onClick={copy} aria-label={`${short(hex)}, copy`}>{text}</button>;
}

const FINALITY: Record<Finality, string> = {
  pending: "its block may still be undone",
  safe: "its block will hardly be undone",
  finalised: "its block will never be undone",
};

export function Finality({ is }: { is: Finality }) {
  return <span class={`tag tag-${is}`} title={FINALITY[is]}>{is === "finalised" ? "final" : is}</span>;
}

const STATES: Record<Batch["state"], string> = {
  pending: "committed; its data file is being fetched",
  verified: "its data file hashes to the commitment",
  withheld: "committed, but nobody gives out the data file",
  mismatch: "the data file is not what was committed to",
};

export function State({ is }: { is: Batch["state"] | string }) {
  const word = is === "pending" ? "committed" : is;
  return <span class={`state-word state-${is}`} title={STATES[is as Batch["state"]] ?? is}>{word}</span>;
}

export function Field({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div class="field">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
