/** One station: newest values, a series of one metric, its readings. */

import { useEffect, useMemo } from "preact/hooks";
import { get, useLoaded, type Device, type Newest, type Page, type Reading, type Series } from "../api";
import { flagName, metric, number, quantity, short, time } from "../format";
import { changes } from "../live";
import { choose, place, to } from "../router";
import { useStore } from "../store";
import { deviceSubject, readingSubject, seriesSubject } from "../subjects";
import { Chart } from "../ui/chart";
import { Mark } from "../ui/mark";
import { Field, Finality, Show, Word } from "../ui/parts";

const DAY = 86_400;
const SPANS = [
  { days: 1, label: "1 day", bucket: 3_600 },
  { days: 7, label: "1 week", bucket: 3 * 3_600 },
  { days: 31, label: "1 month", bucket: 12 * 3_600 },
  { days: 366, label: "1 year", bucket: 3 * DAY },
] as const;
const MOST_LISTED = 50;
const GOOD = 1;

async function load(device: string): Promise<{ device: Device; newest: Newest[] }> {
  const [found, latest] = await Promise.all([get<Device>(`v1/devices/${device}`), get<{ items: Newest[] }>(`v1/latest?device=${device}`)]);
  return { device: found, newest: latest.items };
}

export function StationPage({ id }: { id: string }) {
  const count = useStore(changes);
  const loaded = useLoaded(() => load(id), [id, count]);
  return (
    <div class="page">
      <nav class="trail" aria-label="Where you are"><a href={to("")}>Stations</a> <span aria-hidden="true">/</span> <code>{short(id)}</code></nav>
      <Show of={loaded} heading={`Station ${short(id)}`}>{({ device, newest }) => <Found device={device} newest={newest} count={count} />}</Show>
    </div>
  );
}

const KEYS: Record<number, string> = { 1: "secp256k1", 2: "P-256, secure element" };

function Found({ device, newest, count }: { device: Device; newest: Newest[]; count: number }) {
  const { query } = useStore(place);
  const wanted = Number(query.get("metric") ?? newest[0]?.metric ?? 1);
  const chosen = newest.find(({ metric: code }) => code === wanted) ?? newest[0];
  return (
    <>
      <header class="page-head">
        <h1>Station <code>{short(device.device)}</code></h1>
        <dl class="facts">
          <Field name="Device"><Word hex={device.device} /></Field>
          <Field name="Owner"><Word hex={device.owner} link={to(`rewards/${device.owner}`)} /><Mark subject={deviceSubject(device)} /></Field>
          <Field name="Key">{KEYS[device.key_type] ?? device.key_type}{device.revoked && <span class="tag tag-alarm">revoked</span>}</Field>
          <Field name="Signed by">{device.provenance === "bridge" ? "a bridge" : "the device"}</Field>
          <Field name="Registered">block {number(device.block)} <Finality is={device.finality} /></Field>
        </dl>
      </header>
      {chosen ? <Measured device={device.device} newest={newest} chosen={chosen} count={count} /> : <div class="state">No verified reading yet.</div>}
    </>
  );
}

function Measured({ device, newest, chosen, count }: { device: string; newest: Newest[]; chosen: Newest; count: number }) {
  const { query } = useStore(place);
  const days = Number(query.get("days") ?? 31);
  const span = SPANS.find((each) => each.days === days) ?? SPANS[2];
  // To the end of the hour: the index widens windows of a series to whole hours.
  const end = chosen.observed_at - (chosen.observed_at % 3_600) + 3_599;
  const start = end + 1 - span.days * DAY;
  return (
    <>
      <div class="metrics" role="group" aria-label="Newest values; choose what the chart shows">
        {newest.map((row) => {
          const of = metric(row.metric);
          return (
            <div key={row.metric} class={row.metric === chosen.metric ? "metric metric-chosen" : "metric"}>
              <button type="button" aria-pressed={row.metric === chosen.metric} onClick={() => choose({ metric: row.metric })}>
                <span class="metric-name">{of.label}</span>
                <span class="metric-value">{quantity(row.value, of)} <small>{of.unit}</small></span>
              </button>
              <Mark subject={readingSubject(device, row)} />
            </div>
          );
        })}
      </div>
      <SeriesPart device={device} code={chosen.metric} start={start} end={end} span={span} count={count} />
    </>
  );
}

interface Window {
  device: string;
  code: number;
  start: number;
  end: number;
  span: (typeof SPANS)[number];
  count: number;
}

async function loadSeries({ device, code, start, end, span }: Window): Promise<{ series: Series; readings: Page<Reading> }> {
  const asked = `device=${device}&metric=${code}&from=${Math.max(0, start)}&to=${end}`;
  const [series, readings] = await Promise.all([
    get<Series>(`v1/series?${asked}&bucket=${span.bucket}`),
    get<Page<Reading>>(`v1/readings?${asked}&limit=1000`),
  ]);
  return { series, readings };
}

function SeriesPart(window: Window) {
  const { device, code, start, end, span, count } = window;
  const of = metric(code);
  const loaded = useLoaded(() => loadSeries(window), [device, code, start, end, span, count]);
  return (
    <section aria-labelledby="series" class="block">
      <div class="block-head">
        <h2 id="series">{of.label}, {of.unit}</h2>
        <div class="choices" role="group" aria-label="Length of the window">
          {SPANS.map((each) => (
            <button key={each.days} type="button" aria-pressed={each === span} onClick={() => choose({ days: each.days })}>{each.label}</button>
          ))}
        </div>
      </div>
      <Show of={loaded} isEmpty={({ series }) => !series.items.length} empty="Nothing was measured in this window.">
        {({ series, readings }) => series.metric === code && <SeriesShown window={window} series={series} readings={readings} />}
      </Show>
    </section>
  );
}

function SeriesShown({ window, series, readings }: { window: Window; series: Series; readings: Page<Reading> }) {
  const { device, code, start, end, span } = window;
  const of = metric(code);
  const flagged = readings.items.filter(({ flag }) => flag !== GOOD);
  const subject = useMemo(() => seriesSubject({ device, metric: code, from: start, to: end }, series), [series]);
  const listed = readings.items.slice(-MOST_LISTED).reverse();
  useEffect(() => {
    document.title = `${of.label} of ${short(device)} · CoreChain explorer`;
  }, [code, device]);
  return (
    <>
      <p class="verdict-line"><Mark subject={subject} waits={span.days > 31} /> Every interval is computed again here, from readings that are proven to be on chain and to be all.</p>
      <Chart buckets={series.items} flagged={flagged} metric={of} bucketS={series.bucket} from={start} to={end} />
      <details class="as-table">
        <summary>The chart as a table ({number(series.items.length)} intervals)</summary>
        <div class="scroll" tabIndex={0} role="region" aria-label="Intervals">
          <table>
            <thead><tr><th scope="col">From</th><th scope="col" class="figure">Mean</th><th scope="col" class="figure">Least</th><th scope="col" class="figure">Greatest</th><th scope="col" class="figure">Readings</th></tr></thead>
            <tbody>
              {series.items.map((b) => (
                <tr key={b.start}><th scope="row">{time(b.start)}</th><td class="figure">{quantity(b.sum / b.count, of)}</td><td class="figure">{quantity(b.min, of)}</td><td class="figure">{quantity(b.max, of)}</td><td class="figure">{number(b.count)}</td></tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
      <Readings device={device} listed={listed} total={readings.items.length} more={readings.next_cursor !== null} code={code} />
    </>
  );
}

function Readings({ device, listed, total, more, code }: { device: string; listed: Reading[]; total: number; more: boolean; code: number }) {
  const of = metric(code);
  return (
    <>
      <h2>Readings</h2>
      <p class="soft">The last {listed.length} of {more ? "more than " : ""}{number(total)} in this window{more ? " that are shown, the earliest first" : ""}.</p>
      <table>
        <thead><tr><th scope="col">Observed</th><th scope="col" class="figure">{of.label}</th><th scope="col">Quality</th><th scope="col">Batch</th><th scope="col">Cell</th></tr></thead>
        <tbody>
          {listed.map((row) => (
            <tr key={`${row.batch_id}.${row.position}`}>
              <th scope="row">{time(row.observed_at)}</th>
              <td class="figure"><span class="value">{quantity(row.value, of)}</span> <span class="unit">{of.unit}</span><Mark subject={readingSubject(device, row)} waits /></td>
              <td><span class={`flag flag-${row.flag}`}>{flagName(row.flag)}</span></td>
              <td><a href={to(`batches/${row.batch_id}`)}>{number(row.batch_id)}</a> <span class="soft">at {number(row.position)}</span></td>
              <td><code>{row.cell}</code></td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
