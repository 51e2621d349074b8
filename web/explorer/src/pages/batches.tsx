/** Batches: what was committed, what became of it, what was refused and why. */

import { get, useLoaded, type Batch, type Page, type Rejection, type Status } from "../api";
import { node } from "../chain";
import { disputesOf } from "../disputes";
import { metric, number, quantity, reason, short, time } from "../format";
import { changes } from "../live";
import { place, to } from "../router";
import { useStore } from "../store";
import { batchSubject } from "../subjects";
import { Mark } from "../ui/mark";
import { Field, Finality, Show, State, Word } from "../ui/parts";

const SHOWN = 100;
/** Ids count up in each lane: the lane is their upper half. */
const LANE = 2 ** 32;
const laneOf = (id: number): number => Math.floor(id / LANE);

interface Listed {
  batches: Batch[];
  status: Status;
  older: string | null;
}

async function load(before: string): Promise<Listed> {
  const cursor = before && `&cursor=${encodeURIComponent(before)}`;
  const [status, { items, next_cursor: older }] = await Promise.all([
    get<Status>("v1/status"),
    get<Page<Batch>>(`v1/batches?order=newest&limit=${SHOWN}${cursor}`),
  ]);
  return { batches: items, status, older };
}

export function BatchesPage() {
  const count = useStore(changes);
  const before = useStore(place).query.get("before") ?? "";
  const loaded = useLoaded(() => load(before), [count, before]);
  return (
    <div class="page">
      <header class="page-head">
        <h1>Batches</h1>
        <p class="lead">A relayer commits readings to the chain in batches of 26 bytes. An index fetches the data file behind each commitment and serves only what hashes to it; a file that is withheld or different stays visible as such.</p>
      </header>
      <Show of={loaded} isEmpty={({ batches }) => !batches.length} empty={<strong>Nothing has been committed yet</strong>}>
        {({ batches, status, older }) => (
          <>
            <ul class="tallies" aria-label="Batches by state">
              {Object.entries(status.batches).map(([state, many]) => <li key={state}><span class="tally">{number(many)}</span> <State is={state} /></li>)}
              <li><span class="tally">{number(status.readings)}</span> readings</li>
              <li><span class="tally">{number(status.rejections)}</span> rejected</li>
            </ul>
            <table>
              <thead><tr><th scope="col">Batch</th><th scope="col">State</th><th scope="col">Block</th><th scope="col" class="figure">Readings</th><th scope="col" class="figure">Rejected</th><th scope="col">Window</th><th scope="col">Commitment</th></tr></thead>
              <tbody>{batches.map((batch) => <BatchRow key={batch.batch_id} batch={batch} />)}</tbody>
            </table>
            {(before !== "" || older !== null) && (
              <nav class="pager" aria-label="Pages of batches">
                {before !== "" && <a href={to("batches")}>Newest batches</a>}
                {older !== null && <a href={to("batches", { before: older })}>Older batches</a>}
              </nav>
            )}
          </>
        )}
      </Show>
    </div>
  );
}

function BatchRow({ batch }: { batch: Batch }) {
  const { header } = batch;
  return (
    <tr>
      <th scope="row"><a href={to(`batches/${batch.batch_id}`)}>{number(batch.batch_id % LANE)}</a>{laneOf(batch.batch_id) > 0 && <span class="soft"> of lane {laneOf(batch.batch_id)}</span>}</th>
      <td><State is={batch.state} /></td>
      <td>{number(batch.block)} <Finality is={batch.finality} /></td>
      <td class="figure">{header ? number(header.reading_count) : "–"}</td>
      <td class="figure">{batch.rejected_count === null ? "–" : number(batch.rejected_count)}</td>
      <td class={header ? "soft" : "soft wraps"}>{header ? `${time(header.window_start)} – ${time(header.window_end)}` : batch.reason ?? ""}</td>
      <td class="nowrap"><Word hex={batch.commitment} /><Mark subject={batchSubject(batch)} /></td>
    </tr>
  );
}

async function loadOne(id: string): Promise<{ batch: Batch; rejections: Rejection[] | null }> {
  const batch = await get<Batch>(`v1/batches/${encodeURIComponent(id)}`);
  if (!batch.rejected_count) return { batch, rejections: [] };
  // Where queries cost something these do too; the batch itself never does.
  const rejections = await get<Page<Rejection>>(`v1/batches/${encodeURIComponent(id)}/rejections?limit=1000`).then(({ items }) => items, () => null);
  return { batch, rejections };
}

export function BatchPage({ id }: { id: string }) {
  const count = useStore(changes);
  const loaded = useLoaded(() => loadOne(id), [id, count]);
  return (
    <div class="page">
      <nav class="trail" aria-label="Where you are"><a href={to("batches")}>Batches</a> <span aria-hidden="true">/</span> {id}</nav>
      <Show of={loaded} heading={`Batch ${id}`}>{({ batch, rejections }) => <One batch={batch} rejections={rejections} />}</Show>
    </div>
  );
}

function One({ batch, rejections }: { batch: Batch; rejections: Rejection[] | null }) {
  const { header } = batch;
  return (
    <>
      <header class="page-head">
        <h1>Batch {number(batch.batch_id)} <State is={batch.state} /> <Mark subject={batchSubject(batch)} /></h1>
        {batch.reason && <p class="lead">{batch.reason}</p>}
        <dl class="facts">
          <Field name="Commitment"><Word hex={batch.commitment} /></Field>
          <Field name="Block">{number(batch.block)} <Finality is={batch.finality} /></Field>
          <Field name="Transaction"><Word hex={batch.transaction} /></Field>
          {header && (
            <>
              <Field name="Readings">{number(header.reading_count)} in {number(header.report_count)} reports</Field>
              <Field name="Window">{time(header.window_start)} – {time(header.window_end)}</Field>
              <Field name="Data file"><Word hex={header.data_hash} /></Field>
              <Field name="Rules"><Word hex={header.rules_hash} /></Field>
              <Field name="Statistics root"><Word hex={header.statistics_root} /></Field>
              <Field name="Reports root"><Word hex={header.reports_root} /></Field>
              {batch.readings_root && <Field name="Readings root"><Word hex={batch.readings_root} /></Field>}
            </>
          )}
        </dl>
      </header>
      <Disputes batch={batch} />
      <section class="block" aria-labelledby="rejected">
        <h2 id="rejected">Rejected observations</h2>
        {rejections === null && <p class="soft">This index is paid for them. Their number is in the list of batches.</p>}
        {rejections?.length === 0 && <p class="soft">None: every observation of this batch is a reading.</p>}
        {rejections !== null && rejections.length > 0 && <Rejected rejections={rejections} />}
      </section>
    </>
  );
}

function Rejected({ rejections }: { rejections: Rejection[] }) {
  return (
    <table>
      <thead><tr><th scope="col">Observed</th><th scope="col">Station</th><th scope="col" class="figure">Value</th><th scope="col">Why it is no reading</th></tr></thead>
      <tbody>
        {rejections.map((row) => {
          const of = metric(row.metric);
          return (
            <tr key={row.ordinal}>
              <th scope="row">{time(row.observed_at)}</th>
              <td><a href={to(`station/${row.device}`, { metric: row.metric })}><code>{short(row.device)}</code></a></td>
              <td class="figure">{of.label} <span class="value">{quantity(row.value, of)}</span> <span class="unit">{of.unit}</span></td>
              <td class="wraps">{row.reasons.map(reason).join("; ")}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function Disputes({ batch }: { batch: Batch }) {
  const state = useStore(node);
  const loaded = useLoaded(() => disputesOf(batch), [batch.batch_id, state.kind]);
  if (loaded.error) return <p class="soft">Whether it was disputed could not be asked: {loaded.error.message}</p>;
  if (!loaded.data) return null;
  if (!loaded.data.length) return <p class="soft">Your node has no dispute of this batch: nobody has demanded its data or proven a fraud.</p>;
  return (
    <section class="block" aria-labelledby="disputes">
      <h2 id="disputes">Disputes, as your node tells them</h2>
      <ul>{loaded.data.map((each) => <li key={each.key}><strong class={each.isBad ? "alarm" : ""}>{each.words}</strong> in block {number(each.block)}</li>)}</ul>
    </section>
  );
}
