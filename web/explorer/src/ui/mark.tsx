/** The mark beside a value: whether this browser has checked it, and the way to the steps. */

import { useEffect } from "preact/hooks";
import { node } from "../chain";
import { check, opened, verdictOf, type Subject, type Verdict } from "../proofs";
import { checksAlways } from "../settings";
import { useStore } from "../store";

const WORDS: Record<Verdict["kind"], string> = {
  idle: "not checked yet",
  running: "being checked",
  holds: "verified against your node",
  fails: "contradicted by the chain",
  unknown: "could not be checked",
};

/** A hexagon, as the network's cells are: open, filled with a tick, crossed. */
export function Seal({ kind }: { kind: Verdict["kind"] }) {
  return (
    <svg class={`seal seal-${kind}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path class="seal-edge" d="M8 1.2 13.9 4.6v6.8L8 14.8 2.1 11.4V4.6z" />
      {kind === "holds" && <path class="seal-sign" d="m5.1 8.2 2.1 2.1 3.8-4.3" />}
      {kind === "fails" && <path class="seal-sign" d="m5.6 5.6 4.8 4.8m0-4.8-4.8 4.8" />}
      {kind === "unknown" && <path class="seal-sign" d="M8 4.6v4.2m0 2.1v.6" />}
    </svg>
  );
}

export function Mark({ subject, waits = false }: { subject: Subject; waits?: boolean }) {
  const verdict = useStore(verdictOf(subject.key));
  const always = useStore(checksAlways);
  const { kind: nodeIs } = useStore(node);
  useEffect(() => {
    if (always && !waits && nodeIs === "ready") check(subject);
  }, [subject.key, always, waits, nodeIs, verdict.kind === "idle"]);
  const open = () => {
    check(subject);
    opened.set(subject);
  };
  return (
    <button type="button" class="mark" onClick={open} data-verdict={verdict.kind} aria-haspopup="dialog"
      aria-label={`${subject.title}: ${WORDS[verdict.kind]}. Show the steps`} title={WORDS[verdict.kind]}>
      <Seal kind={verdict.kind} />
    </button>
  );
}
