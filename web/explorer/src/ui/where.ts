/** Where cells are, and whether that is in sight. Of the map alone: h3-js is as large as all pages. */

import { cellToLatLng } from "h3-js";

/** Degrees. A map that goes round the world more than once has longitudes beyond 180. */
export interface Box {
  west: number;
  south: number;
  east: number;
  north: number;
}

const centres = new Map<string, [number, number]>();

/** Latitude and longitude: looked up once, as a network of tens of thousands asks for them at each move. */
export function centreOf(cell: string): [number, number] {
  let found = centres.get(cell);
  if (!found) centres.set(cell, (found = cellToLatLng(cell) as [number, number]));
  return found;
}

export function isInside(cell: string, { west, south, east, north }: Box): boolean {
  const [latitude, longitude] = centreOf(cell);
  if (latitude < south || latitude > north) return false;
  return [longitude - 360, longitude, longitude + 360].some((each) => west <= each && each <= east);
}
