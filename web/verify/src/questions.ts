/** What was asked of the query API: an answer is only as good as the question that it answers. */

import { hex, octets, type BytesLike } from "./bytes.js";
import { RESOLUTION, cellOf, cellText, keysOf, spansOf, type CellLike } from "./cells.js";
import { InvalidValue } from "./errors.js";
import { U40_MAX, packKey, type LocatedReading, type Reading } from "./reading.js";
import { list, record, whole } from "./values.js";
import { metricOf, type MetricLike } from "./vocabulary.js";

/** One reading of a batch. */
export interface ReadingQuestion {
  readonly kind: "reading";
  readonly batchId: number;
  readonly position: number;
  /** What somebody says of the reading (a row of `latest` or of a page), to be compared with it. */
  readonly claimed?: Partial<Reading>;
}

/** A device's readings, page by page; times in seconds, both included. */
export interface ReadingsQuestion {
  readonly kind: "readings";
  readonly device: BytesLike;
  readonly metric?: MetricLike;
  readonly from?: number;
  readonly to?: number;
  readonly limit?: number;
  readonly cursor?: string;
  /** The last reading of the page before: what comes stands behind it. */
  readonly after?: LocatedReading;
}

/** Statistics of one metric of one device at one cell, observed in [from, to] seconds. */
export interface StatisticsQuestion {
  readonly kind: "statistics";
  readonly metric: MetricLike;
  readonly device: BytesLike;
  readonly cell: CellLike;
  readonly from: number;
  readonly to: number;
}

/** The same of all devices at the cells of one resolution (7) that lie in the given ones. */
export interface RegionQuestion {
  readonly kind: "region";
  readonly metric: MetricLike;
  readonly cells: readonly CellLike[];
  readonly resolution?: number;
  readonly from: number;
  readonly to: number;
}

/** What an owner has earned. */
export interface RewardQuestion {
  readonly kind: "reward";
  readonly owner: BytesLike;
}

/** A batch's header. */
export interface BatchQuestion {
  readonly kind: "batch";
  readonly batchId: number;
}

export type Question =
  | ReadingQuestion
  | ReadingsQuestion
  | StatisticsQuestion
  | RegionQuestion
  | RewardQuestion
  | BatchQuestion;

/** The lowest and the highest key of what is asked for, 35 bytes each. */
export type Bounds = readonly [low: Uint8Array, high: Uint8Array];

/** [from, to] in seconds. Throws InvalidValue, ValueOutOfRange. */
export function windowOf(question: { from: number; to: number }): readonly [number, number] {
  const from = whole("from", question.from, 0, U40_MAX);
  const to = whole("to", question.to, 0, U40_MAX);
  if (from > to) throw new InvalidValue("from", from, `is not after the end, ${to}`);
  return [from, to];
}

/** The ranges of keys that were asked for. Throws InvalidValue, ValueOutOfRange, UnknownMetric,
 * InvalidCell. */
export function boundsOf(question: StatisticsQuestion | RegionQuestion): Bounds[] {
  const { code } = metricOf(question.metric);
  const [from, to] = windowOf(question);
  if (question.kind === "region") {
    const spans = spansOf(question.cells, question.resolution ?? RESOLUTION);
    return spans.map((span) => keysOf(code, span));
  }
  const device = octets("device", question.device, 20);
  const cell = cellOf(question.cell);
  return [[packKey(code, cell, device, from), packKey(code, cell, device, to)]];
}

export function batchOf(question: { batchId: number }): number {
  return whole("batchId", question.batchId, 1, 2 ** 48 - 1);
}

export function positionOf(question: ReadingQuestion): number {
  return whole("position", question.position, 0, 2 ** 32 - 1);
}

/** Path and query of a question, as the API takes it. Throws InvalidValue, ValueOutOfRange,
 * UnknownMetric, InvalidCell. */
export function pathOf(question: Question): string {
  record("question", question);
  switch (question.kind) {
    case "reading":
      return `/v1/batches/${batchOf(question)}/readings/${positionOf(question)}/proof`;
    case "batch":
      return `/v1/batches/${batchOf(question)}`;
    case "reward":
      return `/v1/rewards/${hex(octets("owner", question.owner, 20))}`;
    case "readings":
      return `/v1/readings?${query(readingsParams(question))}`;
    default:
      // What is of no known kind is refused there.
      return `/v1/statistics?${query(statisticsParams(question))}`;
  }
}

type Params = Readonly<Record<string, string | number | undefined>>;

function readingsParams(question: ReadingsQuestion): Params {
  return {
    device: hex(octets("device", question.device, 20)),
    metric: question.metric === undefined ? undefined : metricOf(question.metric).name,
    from: question.from,
    to: question.to,
    limit: question.limit,
    cursor: question.cursor,
    proofs: "true",
  };
}

function statisticsParams(question: StatisticsQuestion | RegionQuestion): Params {
  const { name } = metricOf(question.metric);
  const [from, to] = windowOf(question);
  const common = { metric: name, from, to };
  if (question.kind === "statistics") {
    const device = hex(octets("device", question.device, 20));
    return { ...common, device, cell: cellText(cellOf(question.cell)) };
  }
  if (question.kind !== "region") throw new InvalidValue("question", question, "has a kind that is not known here");
  const cells = list("cells", question.cells).map(cellOf).map(cellText);
  return { ...common, cell: cells.join(), resolution: question.resolution ?? RESOLUTION };
}

function query(params: Params): string {
  const given = Object.entries(params).filter(([, value]) => value !== undefined);
  return new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
}
