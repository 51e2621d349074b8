/** Small parts of all pages: states, hashes, fields. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { ApiProblem, Batch, Finality, Loaded } from "../api";
import { short } from "../format";

/** Data, or what there is instead of it. */
export function Show<T>({ of, children, empty, isEmpty }: {
  of: Loaded<T>;
  children: (data: T) => ComponentChildren;
  empty?: ComponentChildren;
  isEmpty?: (data: T) => boolean;
}) {
  if (of.data === undefined) return of.error ? <Failed error={of.error} /> : <Waiting />;
  const shown = isEmpty?.(of.data) ? <div class="state">{empty}</div> : children(of.data);
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
    </div>
  );
}

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
