/** All stations: where they are, what they last measured. */

import { useMemo, useRef, useState } from "preact/hooks";
import { get, useLoaded, type Loaded, type Station, type Stations as Answer } from "../api";
import { metric, metrics, number, quantity, short, time } from "../format";
import { changes } from "../live";
import { choose, place, to } from "../router";
import { useStore } from "../store";
import { readingSubject } from "../subjects";
import { Mark } from "../ui/mark";
import { Show } from "../ui/parts";
import { lazyMap } from "../ui/lazy";
import type { Station as Point } from "../ui/map";
import { SHADES, scaleOf } from "../ui/scale";

/** A page holds so many stations: tens of thousands come in some dozens of answers, and are shown as they come. */
const PAGE = 1_000;
/** Loading all of them anew takes the API so long that it is done no oftener. */
const AGAIN_MS_A_PAGE = 2_000;
/** Rows beyond these would be read by nobody, and each is checked. */
const MOST_ROWS = 200;

/** All stations with their newest value of a metric: those of before until they are there, but page by page at first. */
function useStations(code: number): Loaded<Known> {
  const count = useStore(changes);
  const [partial, setPartial] = useState<Known | null>(null);
  const last = useRef<{ at: number; known: Known | null }>({ at: 0, known: null });
  const load = async (): Promise<Known> => {
    const { at, known } = last.current;
    const isFresh = known?.code === code && performance.now() - at < (known.stations.length / PAGE) * AGAIN_MS_A_PAGE;
    if (isFresh && known.stations.length > PAGE) return known;
    const found = await allStations(code, (some) => known?.code !== code && setPartial(some));
    last.current = { at: performance.now(), known: found };
    return found;
  };
  const loaded = useLoaded(load, [count, code]);
  const first = partial?.code === code ? partial : undefined;
  return loaded.data?.code === code || !first ? loaded : { ...loaded, data: first };
}

async function allStations(code: number, told: (some: Known) => void): Promise<Known> {
  const known: Known = { code, stations: [], metrics: new Set(), whole: false };
  for (let cursor: string | null = ""; cursor !== null; ) {
    const page: Answer = await get(`v1/stations?metric=${code}&limit=${PAGE}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    known.stations.push(...page.items);
    page.metrics.forEach((each) => known.metrics.add(each));
    cursor = page.next_cursor;
    if (cursor !== null && known.stations.length) told({ ...known });
  }
  return { ...known, whole: true };
}

interface Known {
  code: number;
  stations: Station[];
  metrics: Set<number>;
  /** Whether there are no more. */
  whole: boolean;
}

export function MapPage() {
  const { query } = useStore(place);
  const chosen = metric(Number(query.get("metric") ?? 1));
  const loaded = useStations(chosen.code);
  return (
    <Show of={loaded} heading="Stations" isEmpty={({ stations, whole }) => whole && !stations.length} empty={<Nothing />}>
      {(known) => <Shown known={known} />}
    </Show>
  );
}

function Nothing() {
  return (
    <>
      <strong>No station has a verified reading yet</strong>
      <p>Registered devices appear here once a batch with their readings is verified. On a development network: <code>make demo</code>, or the first steps in <code>docs/developers.md</code>.</p>
    </>
  );
}

function Shown({ known }: { known: Known }) {
  const of = metric(known.code);
  const [view, setView] = useState<ReadonlySet<string> | null>(null);
  const points = useMemo<Point[]>(
    () => known.stations.map(({ device, cell, newest }) => ({ device, cell, value: newest?.value ?? null })),
    [known.stations, known.stations.length],
  );
  const inside = useMemo(() => (view ? known.stations.filter(({ device }) => view.has(device)) : known.stations), [points, view]);
  const range = scaleOf(points.flatMap(({ value }) => (value === null ? [] : [value])));
  const all = inside.length === known.stations.length;
  const Map = lazyMap();
  return (
    <div class="split">
      <section class="map-side" aria-label="Map">
        {Map ? <Map stations={points} metric={of} chosen={null} onView={setView} onChoose={(device) => (location.hash = to(`station/${device}`, { metric: of.code }))} /> : <div class="map" />}
        {range && <Legend low={range.low} high={range.high} code={known.code} />}
      </section>
      <section class="ledger" aria-labelledby="stations">
        <div class="ledger-head">
          <h1 id="stations">{all ? "" : `${number(inside.length)} of `}{number(known.stations.length)}{known.whole ? "" : " and more"} station{known.stations.length === 1 ? "" : "s"}</h1>
          <label class="choice">
            <span>Newest</span>
            <select value={known.code} onChange={(event) => choose({ metric: event.currentTarget.value })}>
              {metrics.filter(({ code }) => known.metrics.has(code) || code === known.code).map(({ code, label }) => <option key={code} value={code}>{label}</option>)}
            </select>
          </label>
        </div>
        <table>
          <thead><tr><th scope="col">Station</th><th scope="col" class="figure">{of.label}</th><th scope="col">Observed</th></tr></thead>
          <tbody>{inside.slice(0, MOST_ROWS).map((station) => <StationRow key={station.device} station={station} code={known.code} />)}</tbody>
        </table>
        {inside.length > MOST_ROWS && <p class="footnote">{MOST_ROWS} of {number(inside.length)}: move or zoom the map, and the table shows who is in it. All devices: <code>/v1/devices?format=csv</code>.</p>}
        <p class="footnote">A filled seal means: this browser has hashed the reading up to its batch's root, and your node says that this root is the one on chain.</p>
      </section>
    </div>
  );
}

function StationRow({ station, code }: { station: Station; code: number }) {
  const of = metric(code);
  const { device, newest } = station;
  return (
    <tr>
      <th scope="row">
        <a href={to(`station/${device}`, { metric: code })}><code>{short(device)}</code></a>
        {station.provenance === "bridge" && <span class="tag" title="A bridge signs for this station, which cannot sign">bridge</span>}
        {station.revoked && <span class="tag tag-alarm">revoked</span>}
      </th>
      <td class="figure">
        {newest ? <><span class="value">{quantity(newest.value, of)}</span> <span class="unit">{of.unit}</span><Mark subject={readingSubject(device, newest)} /></> : "–"}
      </td>
      <td class="soft">{newest ? time(newest.observed_at) : ""}</td>
    </tr>
  );
}

function Legend({ low, high, code }: { low: number; high: number; code: number }) {
  const of = metric(code);
  return (
    <div class="legend" aria-hidden="true">
      <span>{quantity(low, of)}</span>
      <i>{Array.from({ length: SHADES }, (_, each) => <b key={each} class={`shade-${each}`} />)}</i>
      <span>{quantity(high, of)} {of.unit}</span>
    </div>
  );
}
