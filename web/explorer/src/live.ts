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
const AGAIN_MS = 3_000;
const BAD_REQUEST = 400;
const GONE = 410;
let waiting: number | undefined;

function happened(message: MessageEvent<string>): void {
  try {
    newest.set(JSON.parse(message.data) as BatchEvent);
  } catch {
    return; // no event of this API: nothing is known by it
  }
  waiting ??= window.setTimeout(() => {
    waiting = undefined;
    changes.change((count) => count + 1);
  }, PAUSE_MS);
}

/** From the last cursor on, so that nothing is missed; what has happened before the stream was open is loaded. `lost`
 * is called when events are: the index does not know the cursor any more. */
export function follow(lost: () => void, since = ""): void {
  const source = new EventSource(new URL(`v1/events${since && `?since=${encodeURIComponent(since)}`}`, API));
  let isOpen = false;
  const heard = (message: MessageEvent<string>): void => {
    since = message.lastEventId;
    happened(message);
  };
  for (const type of ["new", "undone", "final"]) source.addEventListener(type, heard as EventListener);
  source.onopen = () => {
    isOpen = true;
    live.set("live");
    changes.change((count) => count + 1);
  };
  source.onerror = () => {
    live.set(isOpen ? "connecting" : "lost");
    // After a lost connection browsers connect again by themselves; after a refusal they do not.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => void again(), AGAIN_MS);
  };
  const again = async (): Promise<void> => {
    if (since && (await isUnknown(since))) {
      since = "";
      lost();
    }
    follow(lost, since);
  };
}

/** Whether the index refuses the cursor itself: it is too old, or of another history. */
async function isUnknown(cursor: string): Promise<boolean> {
  try {
    const url = new URL(`v1/events?since=${encodeURIComponent(cursor)}`, API);
    const stop = new AbortController();
    const { status } = await fetch(url, { headers: { accept: "text/event-stream" }, signal: stop.signal, credentials: "omit" });
    stop.abort();
    return status === GONE || status === BAD_REQUEST;
  } catch {
    return false;
  }
}
