/** Land and graticule under the cells, from files of ours: no tile of the map is anybody else's. */

import L from "leaflet";

const BASE = new URL("land/", document.baseURI);
const FINE_ZOOM = 5;
const TILE = 10; // degrees, as land.mjs cuts them
/** Of tiles at once: beyond that the coarse outline does. */
const MOST_TILES = 12;

type Polygons = number[][][];
const pairs = (ring: number[]): [number, number][] =>
  Array.from({ length: ring.length / 2 }, (_, i) => [ring[2 * i]!, ring[2 * i + 1]!]);
const shapes = (polygons: Polygons) => polygons.map((rings) => rings.map(pairs));

async function read<T>(name: string): Promise<T> {
  const response = await fetch(new URL(`${name}.json`, BASE));
  if (!response.ok) throw new Error(`no outline ${name}`);
  return (await response.json()) as T;
}

const land = (polygons: Polygons) => L.polygon(shapes(polygons), { className: "land", interactive: false, smoothFactor: 0.6 });

/** Adds the outlines to a map, fine ones where it is looked at closely. */
export function addLand(map: L.Map): void {
  const tiles = new Map<string, Promise<L.Polygon | null>>();
  let known: Set<string> | null = null;
  const world = read<Polygons>("world").then((polygons) => land(polygons).addTo(map)).catch(() => null);

  const tile = (name: string) => {
    let found = tiles.get(name);
    if (!found) tiles.set(name, (found = read<Polygons>(name).then(land).catch(() => null)));
    return found;
  };

  const draw = async () => {
    const coarse = await world;
    if (map.getZoom() < FINE_ZOOM) return showCoarse(coarse, true);
    known ??= new Set(await read<string[]>("tiles").catch(() => []));
    const names = inView(map).filter((name) => known!.has(name));
    if (!names.length || names.length > MOST_TILES) return showCoarse(coarse, names.length > 0);
    const found = await Promise.all(names.map(tile));
    if (map.getZoom() < FINE_ZOOM) return;
    showCoarse(coarse, found.every((each) => each === null));
    for (const each of found) each?.addTo(map).bringToBack();
  };
  const showCoarse = (coarse: L.Polygon | null, isShown: boolean) => {
    if (!coarse) return;
    if (isShown) coarse.addTo(map).bringToBack();
    else coarse.remove();
    if (isShown) for (const each of tiles.values()) void each.then((one) => one?.remove());
  };
  map.on("moveend", () => void draw());
  void draw();
}

function inView(map: L.Map): string[] {
  const box = map.getBounds().pad(0.1);
  const found: string[] = [];
  for (let x = Math.floor(box.getWest() / TILE); x <= box.getEast() / TILE; x++) {
    for (let y = Math.floor(box.getSouth() / TILE); y <= box.getNorth() / TILE; y++) found.push(`${x}_${y}`);
  }
  return found;
}

const STEPS = [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30];

function degrees(value: number, [positive, negative]: [string, string], step: number): string {
  const digits = step < 0.1 ? 2 : step < 1 ? (step === 0.25 ? 2 : 1) : 0;
  return `${Math.abs(value).toFixed(digits)}°${value > 0 ? positive : value < 0 ? negative : ""}`;
}

/** Lines of longitude and latitude with their degrees at the frame, as on a chart. */
export function addGraticule(map: L.Map): void {
  const group = L.layerGroup().addTo(map);
  const line = (points: [number, number][]) => L.polyline(points, { className: "graticule", interactive: false });
  const label = (at: [number, number], text: string, side: string) =>
    L.marker(at, { interactive: false, keyboard: false, icon: L.divIcon({ className: `degree degree-${side}`, html: "", iconSize: [0, 0] }) }).on(
      "add",
      ({ target }) => {
        const element = (target as L.Marker).getElement();
        if (element) {
          element.textContent = text;
          element.setAttribute("aria-hidden", "true");
        }
      },
    );
  const draw = () => {
    group.clearLayers();
    const box = map.getBounds();
    const [south, north] = [Math.max(-85, box.getSouth()), Math.min(85, box.getNorth())];
    const width = box.getEast() - box.getWest();
    const step = STEPS.find((each) => width / each <= 7) ?? 30;
    for (let x = Math.ceil(box.getWest() / step) * step; x <= box.getEast(); x += step) {
      group.addLayer(line([[south, x], [north, x]]));
      group.addLayer(label([south, x], degrees(x, ["E", "W"], step), "south"));
    }
    for (let y = Math.ceil(south / step) * step; y <= north; y += step) {
      group.addLayer(line([[y, box.getWest()], [y, box.getEast()]]));
      group.addLayer(label([y, box.getWest()], degrees(y, ["N", "S"], step), "west"));
    }
  };
  map.on("moveend", draw);
  map.whenReady(draw);
}
