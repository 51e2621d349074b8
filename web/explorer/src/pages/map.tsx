/** All stations: where they are, what they last measured. */

import { lazyMap } from "../ui/lazy";
import { all, get, useLoaded, type Device, type Newest } from "../api";
import { metric, metrics, number, quantity, short, time } from "../format";
import { changes } from "../live";
import { choose, place, to } from "../router";
import { useStore } from "../store";
import { readingSubject } from "../subjects";
import { Mark } from "../ui/mark";
import { Show } from "../ui/parts";
import { SHADES } from "../ui/scale";

/** Newest values are asked for station by station: beyond so many the page would hold up the API. */
const MOST_STATIONS = 400;
const AT_ONCE = 8;

interface Row {
  device: Device;
  newest: Newest[];
}

async function load(): Promise<{ rows: Row[]; more: boolean }> {
  const devices = await all<Device>("v1/devices", MOST_STATIONS + 1);
  const rows: Row[] = [];
  const rest = devices.slice(0, MOST_STATIONS);
  const work = async () => {
    for (let device = rest.shift(); device; device = rest.shift()) {
      const { items } = await get<{ items: Newest[] }>(`v1/latest?device=${device.device}`);
      if (items.length) rows.push({ device, newest: items });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  rows.sort((one, two) => (one.device.device < two.device.device ? -1 : 1));
  return { rows, more: devices.length > MOST_STATIONS };
}

export function MapPage() {
  const count = useStore(changes);
  const { query } = useStore(place);
  const loaded = useLoaded(load, [count]);
  const chosen = metric(Number(query.get("metric") ?? 1));
  return (
    <Show of={loaded} heading="Stations" isEmpty={({ rows }) => !rows.length} empty={<Nothing />}>
      {({ rows, more }) => <Stations rows={rows} more={more} metricCode={chosen.code} />}
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

function Stations({ rows, more, metricCode }: { rows: Row[]; more: boolean; metricCode: number }) {
  const of = metric(metricCode);
  const valueOf = ({ newest }: Row) => newest.find(({ metric: code }) => code === metricCode) ?? null;
  const known = new Set(rows.flatMap(({ newest }) => newest.map(({ metric: code }) => code)));
  const stations = rows.map((row) => ({
    device: row.device.device,
    cell: (valueOf(row) ?? row.newest[0]!).cell,
    value: valueOf(row)?.value ?? null,
  }));
  const shown = stations.flatMap(({ value }) => (value === null ? [] : [value]));
  const Map = lazyMap();
  return (
    <div class="split">
      <section class="map-side" aria-label="Map">
        {Map ? <Map stations={stations} metric={of} chosen={null} onChoose={(device) => (location.hash = to(`station/${device}`, { metric: of.code }))} /> : <div class="map" />}
        {shown.length > 0 && <Legend low={Math.min(...shown)} high={Math.max(...shown)} code={metricCode} />}
      </section>
      <section class="ledger" aria-labelledby="stations">
        <div class="ledger-head">
          <h1 id="stations">{number(rows.length)} station{rows.length === 1 ? "" : "s"}</h1>
          <label class="choice">
            <span>Newest</span>
            <select value={metricCode} onChange={(event) => choose({ metric: event.currentTarget.value })}>
              {metrics.filter(({ code }) => known.has(code)).map(({ code, label }) => <option key={code} value={code}>{label}</option>)}
            </select>
          </label>
        </div>
        <table>
          <thead><tr><th scope="col">Station</th><th scope="col" class="figure">{of.label}</th><th scope="col">Observed</th></tr></thead>
          <tbody>{rows.map((row) => <StationRow key={row.device.device} row={row} newest={valueOf(row)} code={metricCode} />)}</tbody>
        </table>
        {more && <p class="footnote">The first {MOST_STATIONS} stations. All of them: <code>/v1/devices?format=csv</code>.</p>}
        <p class="footnote">A filled seal means: this browser has hashed the reading up to its batch's root, and your node says that this root is the one on chain.</p>
      </section>
    </div>
  );
}

function StationRow({ row, newest, code }: { row: Row; newest: Newest | null; code: number }) {
  const of = metric(code);
  const { device } = row.device;
  return (
    <tr>
      <th scope="row">
        <a href={to(`station/${device}`, { metric: code })}><code>{short(device)}</code></a>
        {row.device.provenance === "bridge" && <span class="tag" title="A bridge signs for this station, which cannot sign">bridge</span>}
        {row.device.revoked && <span class="tag tag-alarm">revoked</span>}
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
