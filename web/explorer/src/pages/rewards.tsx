/** Rewards: epochs and their roots, what an owner has earned, and out of which data. */

import { ApiProblem, all, get, useLoaded, type Batch, type Device, type Epoch, type Page, type Rejection, type Reward } from "../api";
import { number, reason, short, time, tokens } from "../format";
import { changes } from "../live";
import { to } from "../router";
import { useStore } from "../store";
import { rewardSubject } from "../subjects";
import { Mark } from "../ui/mark";
import { Field, Finality, Show, State, Word } from "../ui/parts";

const MOST_OWNERS = 50;
const NOT_FOUND = 404;

interface Owned {
  owner: string;
  devices: number;
  reward: Reward | null;
}

async function load(): Promise<{ epochs: Epoch[]; owned: Owned[] }> {
  const [epochs, devices] = await Promise.all([get<Page<Epoch>>("v1/epochs?limit=1000"), all<Device>("v1/devices", 2_000)]);
  const counts = new Map<string, number>();
  for (const { owner } of devices) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  const asked = [...counts].slice(0, MOST_OWNERS);
  const owned = await Promise.all(asked.map(async ([owner, many]) => ({ owner, devices: many, reward: await rewardOf(owner) })));
  return { epochs: epochs.items.reverse(), owned };
}

/** null: nothing is claimable by this owner, yet. */
async function rewardOf(owner: string): Promise<Reward | null> {
  try {
    return await get<Reward>(`v1/rewards/${owner}`);
  } catch (error) {
    if (error instanceof ApiProblem && error.status === NOT_FOUND) return null;
    throw error;
  }
}

export function RewardsPage() {
  const count = useStore(changes);
  const loaded = useLoaded(load, [count]);
  return (
    <div class="page">
      <header class="page-head">
        <h1>Rewards</h1>
        <p class="lead">Each epoch pays for accepted readings. The amounts of all owners are leaves of one tree, whose root is on chain; anyone can compute it again from the data files.</p>
      </header>
      <Show of={loaded} isEmpty={({ epochs }) => !epochs.length} empty={<><strong>No rewards have been proposed yet</strong><p>The relayer proposes them: <code>corechain relayer propose-rewards</code>.</p></>}>
        {({ epochs, owned }) => (
          <>
            <Owners owned={owned} />
            <Epochs epochs={epochs} />
          </>
        )}
      </Show>
    </div>
  );
}

function Owners({ owned }: { owned: Owned[] }) {
  return (
    <section class="block" aria-labelledby="owners">
      <h2 id="owners">Owners</h2>
      <table>
        <thead><tr><th scope="col">Owner</th><th scope="col" class="figure">Stations</th><th scope="col" class="figure">Earned</th><th scope="col" class="figure">Claimed</th></tr></thead>
        <tbody>
          {owned.map(({ owner, devices, reward }) => (
            <tr key={owner}>
              <th scope="row"><a href={to(`rewards/${owner}`)}><code>{short(owner)}</code></a></th>
              <td class="figure">{number(devices)}</td>
              <td class="figure">{reward ? <><span class="value">{tokens(reward.cumulative)}</span> <span class="unit">CORE</span><Mark subject={rewardSubject(reward)} /></> : "–"}</td>
              <td class="figure">{reward ? <>{tokens(reward.claimed)} <span class="unit">CORE</span></> : "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Epochs({ epochs }: { epochs: Epoch[] }) {
  return (
    <section class="block" aria-labelledby="epochs">
      <h2 id="epochs">Epochs</h2>
      <table>
        <thead><tr><th scope="col">Epoch</th><th scope="col">State</th><th scope="col">Through block</th><th scope="col" class="figure">Emission</th><th scope="col">Claimable from</th><th scope="col">Root</th></tr></thead>
        <tbody>
          {epochs.map((epoch) => (
            <tr key={`${epoch.epoch}.${epoch.root}`}>
              <th scope="row">{number(epoch.epoch)}</th>
              <td><State is={epoch.state} /></td>
              <td>{number(epoch.through_block)} <Finality is={epoch.finality} /></td>
              <td class="figure"><span class="value">{tokens(epoch.emission)}</span> <span class="unit">CORE</span></td>
              <td class="soft">{time(epoch.active_at)}</td>
              <td><Word hex={epoch.root} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

// ------------------------------------------------------------------ one owner, with the reasons

interface Why {
  reward: Reward | null;
  devices: Device[];
  refused: Map<string, Map<string, number>>;
}

/** Batches whose rejections are read for the reasons: the newest ones. */
const MOST_BATCHES = 40;

async function loadOwner(owner: string): Promise<Why> {
  const [reward, devices, batches] = await Promise.all([
    rewardOf(owner),
    all<Device>("v1/devices", 2_000),
    all<Batch>("v1/batches?state=verified&order=newest", 1_000),
  ]);
  const own = devices.filter((device) => device.owner === owner);
  const refused = new Map(own.map(({ device }) => [device, new Map<string, number>()]));
  for (const { batch_id: id } of batches.filter(({ rejected_count: count }) => count).slice(0, MOST_BATCHES)) {
    const { items } = await get<Page<Rejection>>(`v1/batches/${id}/rejections?limit=1000`).catch(() => ({ items: [] as Rejection[] }));
    for (const { device, reasons } of items) {
      const counts = refused.get(device);
      for (const each of counts ? reasons : []) counts!.set(each, (counts!.get(each) ?? 0) + 1);
    }
  }
  return { reward, devices: own, refused };
}

export function OwnerPage({ owner }: { owner: string }) {
  const count = useStore(changes);
  const loaded = useLoaded(() => loadOwner(owner.toLowerCase()), [owner, count]);
  return (
    <div class="page">
      <nav class="trail" aria-label="Where you are"><a href={to("rewards")}>Rewards</a> <span aria-hidden="true">/</span> <code>{short(owner)}</code></nav>
      <Show of={loaded} heading={`Rewards of ${short(owner)}`}>{(found) => <Explained owner={owner} {...found} />}</Show>
    </div>
  );
}

function Explained({ owner, reward, devices, refused }: Why & { owner: string }) {
  return (
    <>
      <header class="page-head">
        <h1>Owner <code>{short(owner)}</code></h1>
        {reward ? (
          <dl class="facts">
            <Field name="Earned"><span class="value">{tokens(reward.cumulative)}</span> CORE <Mark subject={rewardSubject(reward)} /></Field>
            <Field name="Claimed">{tokens(reward.claimed)} CORE</Field>
            <Field name="To claim">{tokens(BigInt(reward.cumulative) - BigInt(reward.claimed))} CORE</Field>
            <Field name="Under epoch">{number(reward.epoch)}, leaf {number(reward.position)}, {reward.proof.length} siblings</Field>
            <Field name="Root"><Word hex={reward.root} /></Field>
          </dl>
        ) : <p class="lead">Nothing is claimable by this owner. A root becomes claimable after its dispute window.</p>}
      </header>
      <section class="block" aria-labelledby="why">
        <h2 id="why">Why this much</h2>
        <p class="soft">Accepted readings of these stations earn; an observation that fails a quality rule earns nothing, and its reason is in the data file for everybody.</p>
        <table>
          <thead><tr><th scope="col">Station</th><th scope="col">Counts as</th><th scope="col">Refused, and why</th></tr></thead>
          <tbody>
            {devices.map(({ device, provenance, revoked }) => {
              const counts = [...(refused.get(device) ?? [])];
              return (
                <tr key={device}>
                  <th scope="row"><a href={to(`station/${device}`)}><code>{short(device)}</code></a></th>
                  <td>{provenance === "bridge" ? "signed by a bridge: weighed less" : "signed by the device: in full"}{revoked && <span class="tag tag-alarm">revoked</span>}</td>
                  <td>{counts.length ? counts.map(([name, many]) => `${number(many)} ${reason(name)}`).join("; ") : <span class="soft">nothing was refused</span>}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </section>
    </>
  );
}
