/** Places of this page, in the part of the address behind #: one file serves all of them. */

import { Store } from "./store";

export interface Place {
  path: string[];
  query: URLSearchParams;
}

function read(): Place {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean), query: new URLSearchParams(query) };
}

export const place = new Store<Place>(read());
window.addEventListener("hashchange", () => place.set(read()));

export const to = (path: string, query?: Record<string, string | number>): string => {
  const text = query ? new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)])).toString() : "";
  return `#/${path}${text ? `?${text}` : ""}`;
};

/** Changes the query in place: what is chosen is in the address, but is no step back. */
export function choose(query: Record<string, string | number>): void {
  const { path, query: before } = place.value;
  const next = Object.fromEntries([...before, ...Object.entries(query).map(([k, v]) => [k, String(v)])]);
  history.replaceState(null, "", to(path.join("/"), next));
  place.set(read());
}
