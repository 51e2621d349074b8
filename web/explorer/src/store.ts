/** A value that components watch. */

import { useLayoutEffect, useReducer } from "preact/hooks";

export class Store<T> {
  private readonly watchers = new Set<() => void>();

  constructor(private current: T) {}

  get value(): T {
    return this.current;
  }

  set(value: T): void {
    if (Object.is(value, this.current)) return;
    this.current = value;
    for (const watcher of [...this.watchers]) watcher();
  }

  change(how: (value: T) => T): void {
    this.set(how(this.current));
  }

  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }
}

/** The value, with a new rendering whenever it changes. */
export function useStore<T>(store: Store<T>): T {
  const [, again] = useReducer((count: number) => count + 1, 0);
  const shown = store.value;
  useLayoutEffect(() => {
    // It may have changed between the rendering and this.
    if (!Object.is(store.value, shown)) again(0);
    return store.watch(() => again(0));
  }, [store]);
  return shown;
}
