/** The map of stations: H3 cells over land and graticule, coarser cells when seen from far. */

import L from "leaflet";
import "leaflet/dist/leaflet.css";
import { cellToBoundary, cellToLatLng, cellToParent, getResolution } from "h3-js";
import { useEffect, useRef } from "preact/hooks";
import { quantity, type MetricShown } from "../format";
import { addGraticule, addLand } from "./landscape";
import { scaleOf, shade } from "./scale";
import { centreOf, isInside, type Box } from "./where";

export interface Station {
  device: string;
  cell: string;
  /** Scaled; null where the station has nothing of the metric. */
  value: number | null;
}

interface Cell {
  cell: string;
  stations: Station[];
  value: number | null;
}

/** Labels beyond this many would cover each other, and the table has all of them. */
const MOST_LABELS = 150;
const ZOOM_TO_RESOLUTION = 3;
/** Hexagons beyond this many make the page slow, and are too small to press. */
const MOST_CELLS = 800;
/** Of the part that is seen, on each side: what one drags into sight is there already. */
const DRAWN_BEYOND = 0.4;

function boxOf(map: L.Map, beyond: number): Box {
  const bounds = map.getBounds().pad(beyond);
  return { west: bounds.getWest(), south: bounds.getSouth(), east: bounds.getEast(), north: bounds.getNorth() };
}

/** South-west and north-east corner; null of nothing. */
function extentOf(stations: readonly Station[]): [[number, number], [number, number]] | null {
  const cells = new Set(stations.map(({ cell }) => cell));
  let [south, west, north, east] = [90, 180, -90, -180];
  for (const cell of cells) {
    // The centre, where there are many: of few the whole hexagon is to be seen.
    const points = cells.size > MOST_CELLS ? [centreOf(cell)] : cellToBoundary(cell);
    for (const [latitude, longitude] of points) {
      [south, north] = [Math.min(south, latitude), Math.max(north, latitude)];
      [west, east] = [Math.min(west, longitude), Math.max(east, longitude)];
    }
  }
  return cells.size ? [[south, west], [north, east]] : null;
}

function cellsOf(stations: readonly Station[], zoom: number): Cell[] {
  const wanted = Math.max(0, Math.round(zoom) - ZOOM_TO_RESOLUTION);
  const cells = new Map<string, Station[]>();
  for (const station of stations) {
    const cell = getResolution(station.cell) > wanted ? cellToParent(station.cell, wanted) : station.cell;
    const inside = cells.get(cell);
    if (inside) inside.push(station);
    else cells.set(cell, [station]);
  }
  return [...cells].map(([cell, inside]) => {
    const values = inside.flatMap(({ value }) => (value === null ? [] : [value]));
    const mean = values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
    return { cell, stations: inside, value: mean };
  });
}

const nameOf = ({ stations, value }: Cell, of: MetricShown) => {
  const what = value === null ? `no ${of.label.toLowerCase()}` : `${quantity(Math.round(value), of)} ${of.unit}`;
  return stations.length === 1 ? `Station ${stations[0]!.device.slice(0, 8)}: ${what}` : `${stations.length} stations: ${what}`;
};

function drawCells(group: L.LayerGroup, map: L.Map, props: Props): void {
  group.clearLayers();
  const seen = boxOf(map, DRAWN_BEYOND);
  const near = props.stations.filter(({ cell }) => isInside(cell, seen));
  let zoom = map.getZoom();
  let cells = cellsOf(near, zoom);
  while (cells.length > MOST_CELLS) cells = cellsOf(near, --zoom);
  const view = boxOf(map, 0);
  props.onView(new Set(near.filter(({ cell }) => isInside(cell, view)).map(({ device }) => device)));
  const scale = scaleOf(cells.flatMap(({ value }) => (value === null ? [] : [value])));
  for (const cell of cells) {
    const isChosen = cell.stations.some(({ device }) => device === props.chosen);
    const colour = cell.value === null || !scale ? "none" : shade(cell.value, scale);
    const choose = () => open(map, cell, props);
    const hexagon = L.polygon(cellToBoundary(cell.cell), { className: `cell shade-${colour}${isChosen ? " cell-chosen" : ""}` });
    group.addLayer(hexagon.on("click", choose));
    if (cells.length <= MOST_LABELS) group.addLayer(labelOf(cell, props.metric).on("click", choose).on("keypress", (event) => {
      if ((event as L.LeafletKeyboardEvent).originalEvent.key === "Enter") choose();
    }));
  }
}

function open(map: L.Map, { cell, stations }: Cell, props: Props): void {
  if (stations.length === 1) props.onChoose(stations[0]!.device);
  else map.setView(cellToLatLng(cell), map.getZoom() + 2);
}

function labelOf(cell: Cell, of: MetricShown): L.Marker {
  const icon = L.divIcon({ className: "cell-label", html: "", iconSize: [0, 0] });
  const name = nameOf(cell, of);
  return L.marker(cellToLatLng(cell.cell), { icon, alt: name }).on("add", ({ target }) => {
    const element = (target as L.Marker).getElement();
    if (!element) return;
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", name);
    const text = document.createElement("span");
    const count = cell.stations.length > 1 ? `${cell.stations.length} × ` : "";
    text.textContent = count + (cell.value === null ? "–" : `${quantity(Math.round(cell.value), of)} ${of.unit}`);
    element.replaceChildren(text);
  });
}

export interface Props {
  /** Devices in the part of the world that is seen, whenever they may be others. */
  onView: (seen: ReadonlySet<string>) => void;
  stations: readonly Station[];
  metric: MetricShown;
  chosen: string | null;
  onChoose: (device: string) => void;
}

export function StationMap(props: Props) {
  const place = useRef<HTMLDivElement>(null);
  const held = useRef<{ map: L.Map; cells: L.LayerGroup } | null>(null);
  const [fitted, moved] = [useRef(false), useRef(false)];
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const map = L.map(place.current!, {
      attributionControl: false, zoomControl: false, zoomSnap: 0.5, minZoom: 1.5, maxZoom: 14, worldCopyJump: true,
      maxBounds: [[-85, -400], [85, 400]], renderer: L.svg({ padding: 0.4 }),
    });
    map.setView([25, 0], 2);
    L.control.zoom({ position: "topright" }).addTo(map);
    L.control.scale({ imperial: false, position: "bottomright" }).addTo(map);
    addLand(map);
    addGraticule(map);
    const cells = L.layerGroup().addTo(map);
    held.current = { map, cells };
    map.on("moveend", () => drawCells(cells, map, latest.current));
    map.on("dragstart zoomstart", () => (moved.current = moved.current || fitted.current));
    const resized = new ResizeObserver(() => map.invalidateSize());
    resized.observe(place.current!);
    return () => {
      resized.disconnect();
      map.remove();
      held.current = null;
    };
  }, []);

  // All stations, until somebody looks elsewhere: more of them may come while one does.
  const extent = extentOf(props.stations);
  useEffect(() => {
    const known = held.current;
    if (!known || !extent || moved.current) return;
    fitted.current = false;
    known.map.fitBounds(extent, { padding: [60, 60], maxZoom: 11, animate: false });
    fitted.current = true;
  }, [extent && extent.join()]);

  useEffect(() => {
    if (held.current) drawCells(held.current.cells, held.current.map, props);
  }, [props.stations, props.metric.code, props.chosen]);

  return <div ref={place} class="map" role="application" aria-label="Map of stations. The table beside it has the same." />;
}
