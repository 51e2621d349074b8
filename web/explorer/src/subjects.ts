/** What can be checked, and how: one function a kind of value. */

import { unhexed } from "./hexes";
import { ask, get, parseJson, type Batch, type Bucket, type Channel, type Device, type Newest, type Reward, type Series, type StateChannel, type Status } from "./api";
import { address, view } from "./chain";
import { metric, quantity, short } from "./format";
import { Contradiction, NotYet, compared, proven, type Step, type Subject } from "./proofs";
import { verifyAnswer, type Chain } from "@corechain/verify";

export function readingSubject(device: string, row: Newest): Subject {
  const of = metric(row.metric);
  return {
    key: `reading ${row.batch_id} ${row.position} ${device} ${row.metric} ${row.observed_at} ${row.value} ${row.flag} ${row.cell}`,
    title: `${of.label} ${quantity(row.value, of)} ${of.unit} of ${short(device)}`,
    check: async (chain) => {
      const path = `v1/batches/${row.batch_id}/readings/${row.position}/proof`;
      const claimed = {
        device: unhexed(device),
        metric: row.metric,
        cell: BigInt(`0x${row.cell}`),
        observedAt: row.observed_at,
        value: row.value,
        flag: row.flag,
      };
      const question = { kind: "reading", batchId: row.batch_id, position: row.position, claimed } as const;
      return (await proven(chain, path, question)).steps;
    },
  };
}

export function batchSubject(batch: Batch): Subject {
  return {
    key: `batch ${batch.batch_id} ${batch.commitment} ${batch.header?.reading_count} ${batch.header?.window_start}`,
    title: `Batch ${batch.batch_id}`,
    check: async (chain) => {
      const question = { kind: "batch", batchId: batch.batch_id } as const;
      const { value, steps } = await proven(chain, `v1/batches/${batch.batch_id}`, question);
      let taken = compared(steps, "The commitment shown is the one on chain", batch.commitment, value.commitment);
      if (batch.header && value.header) {
        const { reading_count: count, window_start: start, window_end: end } = batch.header;
        const own = `${value.header.readingCount} readings from ${value.header.windowStart} to ${value.header.windowEnd}`;
        taken = compared(taken, "Count and window shown are the header's", `${count} readings from ${start} to ${end}`, own);
      }
      return taken;
    },
  };
}

/** What an index says of a contract's state is of the block that it has come to: a node that is a block ahead is no
 * contradiction. What has changed since it was shown is none, either. */
async function asOfIndex<T>(path: string, same: (now: T) => boolean, compare: (block: number, now: T) => Promise<Step[]>): Promise<Step[]> {
  for (let again = TRIES; ; again--) {
    const now = await get<T>(path);
    const { indexed_block: block } = await get<Status>("v1/status");
    try {
      const taken = await compare(block, now);
      if (!same(now)) throw new Error(CHANGED);
      return taken;
    } catch (error) {
      // Something may have happened between the two questions: then the same ones agree.
      if (!(error instanceof Contradiction)) throw error;
      if (again <= 0) {
        if (!same(now)) throw new Error(CHANGED);
        throw error;
      }
    }
  }
}

const TRIES = 2;
const CHANGED = "It has changed since it was shown: the page will show the new value.";

export function rewardSubject(reward: Reward): Subject {
  return {
    key: `reward ${reward.owner} ${reward.epoch} ${reward.cumulative} ${reward.claimed}`,
    title: `Rewards of ${short(reward.owner)}`,
    check: async (chain) => {
      const path = `v1/rewards/${reward.owner}`;
      const same = (now: Reward) => now.cumulative === reward.cumulative && now.claimed === reward.claimed && now.epoch === reward.epoch;
      return asOfIndex<Reward>(path, same, async (block) => {
        const [epoch = 0n] = await view(block, "CoreToken", "activeRoot()");
        // The root becomes active with a block whose time is past the window; an index goes by the clock.
        if (Number(epoch) < reward.epoch) throw new NotYet(`The root of epoch ${reward.epoch} is not active in your node's newest block yet.`);
        const { value, steps } = await proven(chain, path, { kind: "reward", owner: unhexed(reward.owner) } as const);
        const taken = compared(steps, "The amount shown is the one under the root", reward.cumulative, String(value.cumulative));
        const [claimed = 0n] = await view(block, "CoreToken", "claimedOf(address)", reward.owner);
        return compared(taken, "What your node says was claimed is what is shown", reward.claimed, String(claimed));
      });
    },
  };
}

const askedOf = (contract: string): Step[] => [
  { check: "chain", text: `Asked ${contract} at ${address(contract)}, in the block up to which the index is`, holds: true },
];

export function channelSubject(channel: Channel): Subject {
  const same = (now: Channel) => now.balance === channel.balance && now.claimed === channel.claimed;
  return {
    key: `channel ${channel.channel_id} ${channel.balance} ${channel.claimed}`,
    title: `Channel ${short(channel.channel_id)}`,
    check: async () =>
      asOfIndex<Channel>(`v1/channels/${channel.channel_id}`, same, async (block) => {
        const [balance, claimed] = await view(block, "PaymentChannels", "channels(bytes32)", channel.channel_id);
        if (balance === undefined || claimed === undefined) throw new Error("the contract does not answer");
        const taken = compared(askedOf("PaymentChannels"), "Deposit, in base units", channel.balance, String(balance));
        return compared(taken, "Drawn by the payee, in base units", channel.claimed, String(claimed));
      }),
  };
}

const standing = ({ deposit, balance_a: ofA, version, deadline }: StateChannel): string =>
  `deposit ${deposit}, of it A's ${ofA}, version ${version}${deadline ? `, challenged until ${deadline}` : ""}`;

/** Of one that is not closed: a closed channel has no entry in the contract. */
export function stateChannelSubject(channel: StateChannel): Subject {
  const shown = standing(channel);
  return {
    key: `state channel ${channel.channel_id} ${channel.state} ${shown}`,
    title: `State channel ${short(channel.channel_id)}`,
    check: async () =>
      asOfIndex<StateChannel>(`v1/channels/${channel.channel_id}`, (now) => standing(now) === shown, async (block) => {
        const words = await view(block, "StateChannels", "channelOf(bytes32)", channel.channel_id);
        if (words.length !== 4) throw new Error("the contract does not answer");
        const [deposit, ofA, version, deadline] = words.map(String);
        const proven = standing({ ...channel, deposit: deposit!, balance_a: ofA!, version: Number(version), deadline: Number(deadline) });
        return compared(askedOf("StateChannels"), "Deposit, shares and version, in base units", shown, proven);
      }),
  };
}

export function deviceSubject(device: Device): Subject {
  const same = (now: Device) => now.owner === device.owner && now.key_type === device.key_type;
  return {
    key: `device ${device.device} ${device.owner} ${device.key_type} ${device.revoked}`,
    title: `Owner of ${short(device.device)}`,
    check: async () =>
      asOfIndex<Device>(`v1/devices/${device.device}`, same, async (block) => {
        const [owner = 0n, keyType = 0n] = await view(block, "DeviceRegistry", "deviceOf(address)", device.device);
        if (owner === 0n) throw new Error("The device is listed in a fleet: it has no entry of its own to compare with.");
        const shownOwner = device.owner.toLowerCase();
        const taken = compared(askedOf("DeviceRegistry"), "Owner", shownOwner, `0x${owner.toString(16).padStart(40, "0")}`);
        return compared(taken, "Kind of key", String(device.key_type), String(keyType));
      }),
  };
}

// ------------------------------------------------------------------ a series

export interface SeriesAsked {
  device: string;
  metric: number;
  from: number;
  to: number;
}

/** Pages of a thousand: beyond this many readings a check would take minutes. */
const MOST_PAGES = 20;

/** Every bucket is computed again from proven readings, and their number is proven to be all. */
export function seriesSubject(asked: SeriesAsked, series: Series): Subject {
  const of = metric(asked.metric);
  const shown = series.items.map((b) => `${b.start}:${b.count}:${b.sum}:${b.min}:${b.max}`).join();
  return {
    key: `series ${asked.device} ${asked.metric} ${asked.from} ${asked.to} ${series.bucket} ${shown}`,
    title: `${of.label}: ${series.items.length} intervals of ${short(asked.device)}`,
    check: async (chain) => {
      try {
        const { readings, steps } = await provenReadings(chain, asked);
        const taken = await provenCount(chain, asked, readings, steps);
        return sameBuckets(series, readings, taken);
      } catch (error) {
        // A late batch may have come between the series and its readings.
        if (error instanceof Contradiction && (await hasChanged(asked, series))) throw new Error(CHANGED);
        throw error;
      }
    },
  };
}

async function hasChanged({ device, metric: code, from, to }: SeriesAsked, shown: Series): Promise<boolean> {
  const now = await get<Series>(`v1/series?device=${device}&metric=${code}&from=${from}&to=${to}&bucket=${shown.bucket}`);
  return JSON.stringify(now.items) !== JSON.stringify(shown.items);
}

type Proven = { observedAt: number; value: number; cell: bigint };

async function provenReadings(chain: Chain, asked: SeriesAsked): Promise<{ readings: Proven[]; steps: Step[] }> {
  const readings: Proven[] = [];
  const steps: Step[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < MOST_PAGES; page++) {
    const question = { kind: "readings", device: asked.device, metric: asked.metric, from: asked.from, to: asked.to, limit: 1000 } as const;
    const query = `device=${asked.device}&metric=${asked.metric}&from=${asked.from}&to=${asked.to}&limit=1000&proofs=true`;
    const text = await ask(`v1/readings?${query}${cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`}`);
    const found = await verifyAnswer(text, { question, chain });
    readings.push(...found.value.readings.map(({ reading }) => reading));
    steps.push(...found.steps);
    cursor = found.value.nextCursor;
    if (cursor === null) return { readings, steps };
  }
  throw new Error(`The window holds more than ${MOST_PAGES * 1000} readings: choose a shorter one to check it.`);
}

async function provenCount(chain: Chain, asked: SeriesAsked, readings: Proven[], steps: readonly Step[]): Promise<Step[]> {
  const cells = [...new Set(readings.map(({ cell }) => cell))];
  let count = 0;
  const taken = [...steps];
  for (const cell of cells) {
    const question = { kind: "statistics", metric: asked.metric, device: asked.device, cell, from: asked.from, to: asked.to } as const;
    const hex = cell.toString(16);
    const query = `metric=${asked.metric}&device=${asked.device}&cell=${hex}&from=${asked.from}&to=${asked.to}`;
    const found = await verifyAnswer(parseJson(await ask(`v1/statistics?${query}`)), { question, chain });
    count += found.value.count;
    taken.push(...found.steps);
  }
  return compared(taken, "No reading of these batches is left out", `${readings.length} readings`, `${count} readings`);
}

const words = ({ count, sum, min, max }: Pick<Bucket, "count" | "sum" | "min" | "max">) =>
  `${count} readings, sum ${sum}, ${min} to ${max}`;

function sameBuckets(series: Series, readings: readonly Proven[], steps: Step[]): Step[] {
  const own = new Map<number, { count: number; sum: number; min: number; max: number }>();
  for (const { observedAt, value } of readings) {
    const start = observedAt - (observedAt % series.bucket);
    const found = own.get(start) ?? { count: 0, sum: 0, min: Infinity, max: -Infinity };
    own.set(start, {
      count: found.count + 1,
      sum: found.sum + value,
      min: Math.min(found.min, value),
      max: Math.max(found.max, value),
    });
  }
  for (const bucket of series.items) {
    const mine = own.get(bucket.start);
    const text = `The interval that begins ${new Date(bucket.start * 1000).toISOString().slice(0, 16)} UTC is what its readings make`;
    if (!mine || words(mine) !== words(bucket)) compared(steps, text, words(bucket), mine ? words(mine) : "no readings");
  }
  if (own.size !== series.items.length) {
    throw new Contradiction(steps, `${series.items.length} intervals are shown, ${own.size} have readings`);
  }
  const text = `All ${own.size} intervals, computed again from ${readings.length} proven readings, are what is shown`;
  return [...steps, { check: "total", text, holds: true }];
}
