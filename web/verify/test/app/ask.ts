/** A project of somebody else's: it asks a running API by the types of its OpenAPI document, and has
 * every answer proven by its own node. Prints what it found, as JSON. */

import createClient from "openapi-fetch";

import {
  Chain,
  CoreChainError,
  pathOf,
  verifyAnswer,
  type Question,
  type ReadingsQuestion,
} from "@corechain/verify";
import type { components, paths } from "@corechain/verify/api";

declare const process: { argv: string[] };

interface Place {
  api: string;
  rpc: string;
  chainId: number;
  dataBatches: string;
  coreToken: string;
  firstBlock: number;
  device: `0x${string}`;
  cell: string;
  window: [number, number];
}

const place = JSON.parse(process.argv[2]!) as Place;
const [from, to] = place.window;
const api = createClient<paths, "application/json">({ baseUrl: place.api });
const chain = new Chain(place);

/** By the types of the document: a misspelt path or parameter does not compile. */
async function typed() {
  const { data } = await api.GET("/v1/batches", { params: { query: { limit: 10 } } });
  const batches: components["schemas"]["Batch"][] = data?.items ?? [];
  const query = { metric: "pressure", device: place.device, cell: place.cell, from, to };
  const { data: text } = await api.GET("/v1/statistics", { params: { query }, parseAs: "text" });
  const question = { kind: "statistics", ...query } as const;
  const { value } = await verifyAnswer(text, { question, chain });
  return { batches: batches.map(({ batch_id: id, state }) => [id, state]), mean: value.mean };
}

async function asked(question: Question): Promise<string> {
  return (await fetch(place.api + pathOf(question))).text();
}

async function proven<Q extends Question>(question: Q) {
  const { value, steps } = await verifyAnswer(await asked(question), { question, chain });
  return { value, checks: [...new Set(steps.map(({ check }) => check))] };
}

/** The name of the refusal, the step that does not hold, and its two values. */
async function refused(question: Question, answer: string, rpc = place.rpc) {
  try {
    await verifyAnswer(answer, { question, ...place, rpc });
    return "believed";
  } catch (error) {
    if (!(error instanceof CoreChainError)) throw error;
    const last = error.steps.at(-1);
    return [error.name, last?.check, last?.holds, last?.compared !== undefined];
  }
}

const reading = { kind: "reading", batchId: 2, position: 1 } as const;
const page: ReadingsQuestion = { kind: "readings", device: place.device, limit: 10 };
const statistics = {
  kind: "statistics", metric: "air_temperature", device: place.device, cell: place.cell, from, to,
} as const;
const region = { kind: "region", metric: 1, cells: [place.cell], from: from + 3600, to } as const;

const first = await proven(page);
const found = {
  typed: await typed(),
  reading: await proven(reading),
  page: { ...first, more: await proven({ ...page, cursor: first.value.nextCursor ?? "", after: first.value.readings[9]! }) },
  statistics: await proven(statistics),
  region: await proven(region),
  batch: await proven({ kind: "batch", batchId: 3 }),
  root: (await chain.activeRoot())[0],
  logged: await chain.commitmentOf(5).then(String),
  lies: {
    value: await refused(page, (await asked(page)).replace('"value":', '"value":1')),
    sum: await refused(statistics, (await asked(statistics)).replace('"sum":', '"sum":1')),
    shown: await refused({ ...reading, claimed: { value: 12_345 } }, await asked(reading)),
    other: await refused({ ...statistics, to: to - 1 }, await asked(statistics)),
    unknown: await refused({ ...reading, batchId: 99 }, await asked(reading)),
    nowhere: await refused(reading, await asked(reading), "http://127.0.0.1:1/"),
    away: await chain.commitmentOf(99).then(String, ({ name }: Error) => name),
    elsewhere: await new Chain({ ...place, chainId: 1 }).commitmentOf(1).then(String, ({ name }: Error) => name),
    nobody: await new Chain({ ...place, dataBatches: `0x${"99".repeat(20)}` })
      .commitmentOf(1).then(String, ({ name }: Error) => name),
  },
};
console.log(JSON.stringify(found, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)));
