/** The panel with the steps of a check: what was compared with what, and where it broke. */

import { useEffect, useRef } from "preact/hooks";
import { address, network, nodeInUse } from "../chain";
import { check, opened, verdictOf, type Step, type Subject, type Verdict } from "../proofs";
import { useStore } from "../store";
import { Seal } from "./mark";

const HEADS: Record<Verdict["kind"], string> = {
  idle: "Not checked yet",
  running: "Checking …",
  holds: "This holds",
  fails: "This is not what the chain says",
  unknown: "This could not be checked",
};

function Values({ step }: { step: Step }) {
  if (!step.compared) return null;
  const { left, right } = step.compared;
  return (
    <dl class={step.holds ? "compared" : "compared differs"}>
      <dt>{left.what}</dt>
      <dd><code>{left.value}</code></dd>
      <dt>{right.what}</dt>
      <dd><code>{right.value}</code></dd>
    </dl>
  );
}

/** Runs of one kind of step are folded: fifty batches are fifty comparisons of one sort. */
const MOST_SHOWN = 12;

function Taken({ steps }: { steps: readonly Step[] }) {
  const broken = steps.filter(({ holds }) => !holds);
  const few = steps.length <= MOST_SHOWN ? steps : [...steps.slice(0, 6), ...steps.slice(-5).filter((s) => s.holds), ...broken];
  const hidden = steps.length - few.length;
  const row = (step: Step, at: number) => (
    <li key={at} class={step.holds ? "step" : "step broken"}>
      <span class="step-sign" aria-hidden="true">{step.holds ? "✓" : "✕"}</span>
      <div><p>{step.text}{!step.holds && <strong> — does not hold</strong>}</p><Values step={step} /></div>
    </li>
  );
  return (
    <>
      <ol class="steps">{few.map(row)}</ol>
      {hidden > 0 && (
        <details class="all-steps">
          <summary>All {steps.length} steps</summary>
          <ol class="steps">{steps.map(row)}</ol>
        </details>
      )}
    </>
  );
}

function Judgement({ subject }: { subject: Subject }) {
  const verdict = useStore(verdictOf(subject.key));
  const steps = "steps" in verdict ? verdict.steps : [];
  return (
    <>
      <p class={`judgement judgement-${verdict.kind}`} role="status">
        <Seal kind={verdict.kind} />
        <strong>{HEADS[verdict.kind]}</strong>
      </p>
      {"why" in verdict && <p class="why"><code>{verdict.name}</code> {verdict.why}</p>}
      {verdict.kind === "holds" && <p class="why">Computed in this browser from the API's answer, and compared with what your node says. {steps.length} steps.</p>}
      {steps.length > 0 && <Taken steps={steps} />}
      <button type="button" class="button" disabled={verdict.kind === "running"} onClick={() => check(subject, true)}>Check again</button>
    </>
  );
}

export function StepsPanel() {
  const subject = useStore(opened);
  const heading = useRef<HTMLHeadingElement>(null);
  const before = useRef<Element | null>(null);
  useStore(network);
  useEffect(() => {
    if (!subject) return;
    before.current = document.activeElement;
    heading.current?.focus();
    const escape = (event: KeyboardEvent) => event.key === "Escape" && opened.set(null);
    document.addEventListener("keydown", escape);
    return () => {
      document.removeEventListener("keydown", escape);
      (before.current as HTMLElement | null)?.focus?.();
    };
  }, [subject]);
  if (!subject) return null;
  return (
    <div class="panel" role="dialog" aria-labelledby="panel-title">
      <div class="panel-head">
        <h2 id="panel-title" ref={heading} tabIndex={-1}>{subject.title}</h2>
        <button type="button" class="close" aria-label="Close the steps" onClick={() => opened.set(null)}>×</button>
      </div>
      <div class="panel-body">
        <Judgement subject={subject} />
        <p class="footnote">
          Your node: <code>{nodeInUse() || "none"}</code><br />
          DataBatches: <code>{network.value ? address("DataBatches") : "…"}</code>
        </p>
      </div>
    </div>
  );
}
