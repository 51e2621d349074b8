// Land outlines without any foreign server: Natural Earth (public domain, npm `world-atlas`), the world coarsely in one
// file and finely in tiles of ten degrees, of which a map loads those that it shows. Written to made/land/.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { feature } from "topojson-client";

const TILE = 10; // degrees
const DIGITS = 3; // 0.001° is about 100 m, finer than the outlines are

function rings(name) {
  const world = JSON.parse(readFileSync(new URL(`node_modules/world-atlas/${name}.json`, import.meta.url)));
  return feature(world, world.objects.land).features.flatMap(({ geometry }) =>
    geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates,
  );
}

/** Sutherland and Hodgman: the part of a ring on one side of a straight line. */
function cut(ring, axis, limit, keepsAbove) {
  const inside = (point) => (keepsAbove ? point[axis] >= limit : point[axis] <= limit);
  const found = [];
  for (let i = 0; i < ring.length; i++) {
    const [from, to] = [ring[i], ring[(i + 1) % ring.length]];
    if (inside(from)) found.push(from);
    if (inside(from) !== inside(to)) {
      const share = (limit - from[axis]) / (to[axis] - from[axis]);
      found.push([0, 1].map((each) => from[each] + share * (to[each] - from[each])));
    }
  }
  return found;
}

function bounds(ring) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of ring) {
    if (x < box[0]) box[0] = x;
    if (y < box[1]) box[1] = y;
    if (x > box[2]) box[2] = x;
    if (y > box[3]) box[3] = y;
  }
  return box;
}

/** Latitude and longitude in turns, rounded; repeated points are left out. */
function flat(ring, digits) {
  const factor = 10 ** digits;
  const found = [];
  let before = "";
  for (const [x, y] of ring) {
    const point = [Math.round(y * factor) / factor, Math.round(x * factor) / factor];
    if (String(point) !== before) found.push(...point);
    before = String(point);
  }
  return found;
}

const folder = new URL("made/land/", import.meta.url);
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const write = (name, polygons) => writeFileSync(new URL(`${name}.json`, folder), JSON.stringify(polygons));
write("world", rings("land-110m").map((polygon) => polygon.map((ring) => flat(ring, 2))));

const tiles = new Map();
for (const polygon of rings("land-10m")) {
  const [west, south, east, north] = bounds(polygon[0]);
  for (let x = Math.floor(west / TILE); x < east / TILE; x++) {
    // Strip by strip: a continent's ring is then cut once a column and not once a tile.
    const columns = polygon.map((ring) => cut(cut(ring, 0, x * TILE, true), 0, (x + 1) * TILE, false));
    for (let y = Math.floor(south / TILE); y < north / TILE; y++) {
      const parts = columns.map((ring) => cut(cut(ring, 1, y * TILE, true), 1, (y + 1) * TILE, false));
      const kept = parts.filter((ring) => ring.length > 2).map((ring) => flat(ring, DIGITS));
      if (kept.length) tiles.set(`${x}_${y}`, [...(tiles.get(`${x}_${y}`) ?? []), kept]);
    }
  }
}
for (const [name, polygons] of tiles) write(name, polygons);
writeFileSync(new URL("tiles.json", folder), JSON.stringify([...tiles.keys()]));
