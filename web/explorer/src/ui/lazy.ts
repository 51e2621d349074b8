/** The map's libraries are half of all code: pages without a map do not wait for them. */

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Props } from "./map";

type MapType = ComponentType<Props>;
let known: MapType | null = null;

/** null until it is there. */
export function lazyMap(): MapType | null {
  const [found, setFound] = useState<{ map: MapType | null }>({ map: known });
  useEffect(() => {
    if (!known) void import("./map").then(({ StationMap }) => setFound({ map: (known = StationMap) }));
  }, []);
  return found.map;
}
