/** A series: a band from the least to the greatest of each interval, the mean in it, suspect readings on it. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Bucket, Newest } from "../api";
import { day, flagName, number, quantity, time, type MetricShown } from "../format";

interface Props {
  buckets: readonly Bucket[];
  /** Readings whose flag is not "good". */
  flagged: readonly Newest[];
  metric: MetricShown;
  bucketS: number;
  from: number;
  to: number;
}

const HEIGHT = 300;
const EDGE = { top: 14, right: 18, bottom: 30, left: 58 };

function ticks(low: number, high: number, wanted: number): number[] {
  const raw = (high - low) / wanted || 1;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * size).find((each) => each >= raw) ?? raw;
  const found: number[] = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
  return found;
}

function timeTicks(from: number, to: number, wanted: number): number[] {
  const steps = [3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, 86_400, 2 * 86_400, 5 * 86_400, 7 * 86_400, 14 * 86_400, 30 * 86_400, 91 * 86_400];
  const step = steps.find((each) => (to - from) / each <= wanted) ?? 365 * 86_400;
  const found: number[] = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

const clock = (at: number) => new Date(at * 1000).toISOString().slice(11, 16);

function useWidth() {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(760);
  useEffect(() => {
    const watcher = new ResizeObserver(([entry]) => entry && setWidth(Math.max(320, entry.contentRect.width)));
    watcher.observe(place.current!);
    return () => watcher.disconnect();
  }, []);
  return { place, width };
}

export function Chart(props: Props) {
  const { buckets, metric, bucketS, from, to } = props;
  const { place, width } = useWidth();
  const [at, setAt] = useState<number | null>(null);
  const shown = at === null ? buckets.length - 1 : Math.min(at, buckets.length - 1);
  const current = buckets[shown]!;

  const values = buckets.flatMap(({ min, max }) => [min / metric.scale, max / metric.scale]);
  const [least, greatest] = [Math.min(...values), Math.max(...values)];
  const room = (greatest - least || 1) * 0.08;
  const [low, high] = [least - room, greatest + room];
  const x = (seconds: number) => EDGE.left + ((seconds - from) / (to - from || 1)) * (width - EDGE.left - EDGE.right);
  const y = (value: number) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const middle = (bucket: Bucket) => x(bucket.start + bucketS / 2);

  const move = (event: KeyboardEvent) => {
    const moves: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -buckets.length, End: buckets.length };
    const by = moves[event.key];
    if (by === undefined) return;
    event.preventDefault();
    setAt(Math.max(0, Math.min(buckets.length - 1, shown + by)));
  };
  const point = (event: PointerEvent) => {
    const box = (event.currentTarget as SVGElement).getBoundingClientRect();
    const wanted = event.clientX - box.left;
    let nearest = 0;
    for (let i = 1; i < buckets.length; i++) {
      if (Math.abs(middle(buckets[i]!) - wanted) < Math.abs(middle(buckets[nearest]!) - wanted)) nearest = i;
    }
    setAt(nearest);
  };

  const readout = `${time(current.start)}: mean ${quantity(current.sum / current.count, metric)}, ${quantity(current.min, metric)} to ${quantity(current.max, metric)} ${metric.unit}, ${current.count} readings`;
  return (
    <figure class="chart" ref={place}>
      <Readout bucket={current} metric={metric} isChosen={at !== null} />
      <svg width={width} height={HEIGHT} viewBox={`0 0 ${width} ${HEIGHT}`} role="slider" tabIndex={0}
        aria-label={`${metric.label} over time; arrow keys move through the intervals`} aria-valuemin={0}
        aria-valuemax={buckets.length - 1} aria-valuenow={shown} aria-valuetext={readout}
        onKeyDown={move} onPointerMove={point} onPointerLeave={() => setAt(null)} onBlur={() => setAt(null)}>
        <g class="axis">
          {ticks(low, high, 6).map((value) => (
            <g key={value}>
              <line x1={EDGE.left} x2={width - EDGE.right} y1={y(value)} y2={y(value)} />
              <text x={EDGE.left - 10} y={y(value)} dy="0.32em" text-anchor="end">{String(+value.toFixed(2)).replace("-", "\u2212")}</text>
            </g>
          ))}
          {timeTicks(from, to, Math.max(3, Math.floor(width / 110))).map((seconds) => (
            <g key={seconds}>
              <line class="tick" x1={x(seconds)} x2={x(seconds)} y1={HEIGHT - EDGE.bottom} y2={HEIGHT - EDGE.bottom + 5} />
              <text x={x(seconds)} y={HEIGHT - EDGE.bottom + 19} text-anchor="middle">
                {seconds % 86_400 ? clock(seconds) : day(seconds).replace(/ \d{4}$/, "")}
              </text>
            </g>
          ))}
        </g>
        <Band runs={runsOf(buckets, bucketS)} x={middle} y={(value) => y(value / metric.scale)} />
        {props.flagged.map((reading) => (
          <path key={`${reading.batch_id}.${reading.position}`} class={`flagged flag-${reading.flag}`} d="M0-5 5 0 0 5-5 0z"
            transform={`translate(${x(reading.observed_at)} ${y(reading.value / metric.scale)})`}>
            <title>{`${flagName(reading.flag)}: ${quantity(reading.value, metric)} ${metric.unit}, ${time(reading.observed_at)}`}</title>
          </path>
        ))}
        {at !== null && (
          <g class="cursor">
            <line x1={middle(current)} x2={middle(current)} y1={EDGE.top} y2={HEIGHT - EDGE.bottom} />
            <circle cx={middle(current)} cy={y(current.sum / current.count / metric.scale)} r="4" />
          </g>
        )}
      </svg>
      <figcaption class="key">
        <span class="key-band">least to greatest</span><span class="key-mean">mean</span>
        <span class="key-flag">suspect reading ({number(props.flagged.length)})</span>
      </figcaption>
    </figure>
  );
}

function Readout({ bucket, metric, isChosen }: { bucket: Bucket; metric: MetricShown; isChosen: boolean }) {
  return (
    <div class="readout">
      <span class="readout-time">{time(bucket.start)}{!isChosen && <em> newest interval</em>}</span>
      <span class="readout-value">{quantity(bucket.sum / bucket.count, metric)}<small> {metric.unit}</small></span>
      <span class="readout-more">{quantity(bucket.min, metric)} to {quantity(bucket.max, metric)} · {number(bucket.count)} readings</span>
    </div>
  );
}

/** Intervals that follow each other: where readings are missing the band has a gap. */
function runsOf(buckets: readonly Bucket[], bucketS: number): Bucket[][] {
  const runs: Bucket[][] = [];
  for (const bucket of buckets) {
    const last = runs.at(-1)?.at(-1);
    if (last && bucket.start - last.start <= 2 * bucketS) runs.at(-1)!.push(bucket);
    else runs.push([bucket]);
  }
  return runs;
}

function Band({ runs, x, y }: { runs: Bucket[][]; x: (bucket: Bucket) => number; y: (value: number) => number }) {
  const path = (run: Bucket[], value: (bucket: Bucket) => number) =>
    run.map((bucket) => `${x(bucket).toFixed(1)} ${y(value(bucket)).toFixed(1)}`).join("L");
  return (
    <g>
      {runs.map((run) => (
        <g key={run[0]!.start}>
          <path class="band" d={`M${path(run, ({ max }) => max)}L${path([...run].reverse(), ({ min }) => min)}Z`} />
          <path class="mean" d={`M${path(run, ({ sum, count }) => sum / count)}`} />
        </g>
      ))}
    </g>
  );
}
