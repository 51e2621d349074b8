/** What happens to batches, as the API's event stream tells it. */

import { API } from "./settings";
import { Store } from "./store";

export interface BatchEvent {
  type: "new" | "undone" | "final";
  batch_id: number;
  block: number;
  readings: number | null;
  rejected: number | null;
}
export type Live = "connecting" | "live" | "lost";

export const live = new Store<Live>("connecting");
export const newest = new Store<BatchEvent | null>(null);
/** Grows with each event, at most once a second: what is shown is loaded anew. */
export const changes = new Store<number>(0);

const PAUSE_MS = 1_000;
let waiting: number | undefined;

function happened(message: MessageEvent<string>): void {
  newest.set(JSON.parse(message.data) as BatchEvent);
  waiting ??= window.setTimeout(() => {
    waiting = undefined;
    changes.change((count) => count + 1);
  }, PAUSE_MS);
}

export function follow(): void {
  // The browser connects again by itself, and tells its last cursor: nothing is missed.
  const source = new EventSource(new URL("v1/events", API));
  for (const type of ["new", "undone", "final"]) source.addEventListener(type, happened as EventListener);
  source.onopen = () => live.set("live");
  source.onerror = () => live.set(source.readyState === EventSource.CLOSED ? "lost" : "connecting");
}
