/** What the user has chosen, kept in this browser and told to nobody. */

import { Store } from "./store";

const PREFIX = "corechain.explorer.";
export type Theme = "system" | "light" | "dark";

function read(name: string): string | null {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null; // a browser that keeps nothing: it is chosen again with each visit
  }
}

function write(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
  } catch {
    // As above.
  }
}

/** The address of a server; null for a text that is none. */
export function serverAt(text: string): URL | null {
  try {
    const found = new URL(text, document.baseURI);
    return /^https?:$/.test(found.protocol) ? found : null;
  } catch {
    return null;
  }
}

const named = new URLSearchParams(location.search).get("api");
/** What `?api=` names, where that is no address of a server: nothing is asked then. */
export const wrongApi = named !== null && serverAt(named) === null ? named : null;

/** The query API: the one that served this page, unless `?api=` names another. */
export const API = (named !== null && serverAt(named)) || new URL("../", document.baseURI);

export const theme = new Store<Theme>((read("theme") as Theme | null) ?? "system");
/** URL of the user's own node; null: not chosen yet, "" : none wanted. */
export const nodeUrl = new Store<string | null>(read("node"));
/** Whether values are checked as they are shown, or only when asked. */
export const checksAlways = new Store<boolean>(read("always") !== "no");

export function chooseNode(url: string | null): void {
  write("node", url);
  nodeUrl.set(url);
}

export function chooseChecks(always: boolean): void {
  write("always", always ? null : "no");
  checksAlways.set(always);
}

export function chooseTheme(chosen: Theme): void {
  write("theme", chosen === "system" ? null : chosen);
  theme.set(chosen);
}

/** Contract addresses by chain, as they were when this browser first saw them, or was told them. */
export function pinned(chainId: number): Record<string, string> | null {
  try {
    const kept = JSON.parse(read(`contracts.${chainId}`) ?? "null") as unknown;
    return typeof kept === "object" ? (kept as Record<string, string> | null) : null;
  } catch {
    return null; // what is kept is damaged: as at the first visit
  }
}

export function pin(chainId: number, contracts: Record<string, string>): void {
  write(`contracts.${chainId}`, JSON.stringify(contracts));
}

function applyTheme(): void {
  if (theme.value === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
}
theme.watch(applyTheme);
applyTheme();
