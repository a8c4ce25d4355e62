/**
 * Line charts as SVG text, for the report and for the live page alike: the same points give the same text.
 *
 * Colours are classes (`c0` to `c7`), so a page's style sheet decides on light and dark. A noisy curve is drawn thin,
 * its running mean bold over it. Nothing here depends on the machine: no fonts are measured, no dates shown.
 */
import type { Curve } from '../logs/charts.ts';
import { shortNumber, trimmed } from './words.ts';

export { duration, shortNumber } from './words.ts';

export interface LineChartOptions {
  readonly title: string;
  readonly curves: readonly Curve[];
  /** What x counts. Default: step. */
  readonly xLabel?: string;
  /** Steps of x are factors of two, as for pass@k. */
  readonly logX?: boolean;
  /** Dots at the points and no running mean. */
  readonly dots?: boolean;
}

/** Colours there are; later curves have those of the first ones again. */
export const chartColours = 8;

const width = 360;
const height = 170;
const left = 44;
const right = 10;
const top = 8;
const bottom = 24;
/** Curves with more points than this get a running mean. */
const noisyFrom = 40;

/** Text safe in HTML and SVG, inside elements and attributes. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

/** A figure with caption, chart and legend, as HTML. */
export function lineFigure(options: LineChartOptions): string {
  const legend = options.curves.map(({ label, y }, i) => {
    const last = options.dots ? '' : ` <b>${escapeHtml(shortNumber(y.at(-1) ?? 0))}</b>`;
    return `<li class="c${i % chartColours}"><span></span>${escapeHtml(label)}${last}</li>`;
  });
  const caption = `<figcaption>${escapeHtml(options.title)}</figcaption>`;
  return `<figure class="chart">${caption}${lineChart(options)}<ul class="legend">${legend.join('')}</ul></figure>`;
}

/** The chart alone. Curves without points are left out. */
export function lineChart({
  title,
  curves,
  xLabel = 'step',
  logX = false,
  dots = false,
}: LineChartOptions): string {
  const drawn = curves.filter(({ x }) => x.length > 0);
  const xs = drawn.flatMap(({ x }) => x.map((value) => (logX ? Math.log2(value) : value)));
  const ys = drawn.flatMap(({ y }) => y);
  const xTicks = logX ? powerTicks(xs) : niceTicks(least(xs), largest(xs), 5);
  const yTicks = niceTicks(least(ys), largest(ys), 4);
  const xFrom = least(xs);
  const xTo = largest(xs);
  const yFrom = Math.min(yTicks[0] as number, least(ys));
  const yTo = Math.max(yTicks.at(-1) as number, largest(ys));
  const px = (value: number) => left + ((value - xFrom) / (xTo - xFrom || 1)) * (width - left - right);
  const py = (value: number) =>
    height - bottom - ((value - yFrom) / (yTo - yFrom || 1)) * (height - top - bottom);
  const grid = yTicks.map(
    (tick) =>
      `<line class="grid" x1="${left}" x2="${width - right}" y1="${fixed(py(tick))}" y2="${fixed(py(tick))}"/>` +
      `<text x="${left - 6}" y="${fixed(py(tick) + 3.5)}" text-anchor="end">${shortNumber(tick)}</text>`,
  );
  const marks = xTicks
    .filter((tick) => tick >= xFrom && tick <= xTo)
    .map((tick) => {
      const text = shortNumber(logX ? 2 ** tick : tick);
      return `<text x="${fixed(px(tick))}" y="${height - 8}" text-anchor="middle">${text}</text>`;
    });
  const lines = curves.map(({ x, y }, i) => {
    if (x.length === 0) return '';
    const at = (values: readonly number[]): Point[] =>
      values.map((value, k) => [px(logX ? Math.log2(x[k] as number) : (x[k] as number)), py(value)]);
    return curveMarks(
      at(y),
      dots || x.length < noisyFrom ? undefined : at(runningMean(y)),
      i % chartColours,
      dots,
    );
  });
  const label = escapeHtml(describe(title, drawn, xLabel));
  return (
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">` +
    `${grid.join('')}${marks.join('')}${lines.join('')}</svg>`
  );
}

type Point = readonly [number, number];

function curveMarks(
  raw: readonly Point[],
  mean: readonly Point[] | undefined,
  colour: number,
  dots: boolean,
) {
  const path = (points: readonly Point[]) =>
    `M${points.map(([x, y]) => `${fixed(x)} ${fixed(y)}`).join('L')}`;
  const line = `<path class="line c${colour}${mean ? ' raw' : ''}" d="${path(raw)}"/>`;
  const bold = mean ? `<path class="line c${colour}" d="${path(mean)}"/>` : '';
  const single = dots || raw.length === 1 ? raw : [];
  const points = single.map(
    ([x, y]) => `<circle class="dot c${colour}" cx="${fixed(x)}" cy="${fixed(y)}" r="2.5"/>`,
  );
  return line + bold + points.join('');
}

/** What a reader who cannot see the chart is told. */
function describe(title: string, curves: readonly Curve[], xLabel: string): string {
  const parts = curves.map(({ label, x, y }) => {
    const [from, to] = [y[0] as number, y.at(-1) as number].map(shortNumber);
    return `${label} from ${from} to ${to} at ${xLabel} ${shortNumber(x.at(-1) as number)}`;
  });
  return `${title}: ${parts.join('; ') || 'no points yet'}`;
}

/** Mean over a window of about a tenth of the points around each, as far as there are any: it does not lag. */
function runningMean(values: readonly number[]): number[] {
  const reach = Math.max(2, Math.round(values.length / 20));
  return values.map((_, i) => {
    const part = values.slice(Math.max(0, i - reach), i + reach + 1);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}

/** Round numbers that cover a range, about `count` of them. */
export function niceTicks(from: number, to: number, count: number): readonly number[] {
  if (!(to > from)) return [from];
  const rough = (to - from) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) as number) * power;
  const first = Math.floor(from / step + 1e-9);
  const last = Math.ceil(to / step - 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step)) + 1);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toFixed(digits)));
}

function powerTicks(logs: readonly number[]): readonly number[] {
  const [from, to] = [Math.ceil(least(logs)), Math.floor(largest(logs))];
  const stride = Math.max(1, Math.ceil((to - from + 1) / 9));
  return Array.from(
    { length: Math.max(0, Math.floor((to - from) / stride) + 1) },
    (_, i) => from + i * stride,
  );
}

function least(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((a, b) => Math.min(a, b));
}

function largest(values: readonly number[]): number {
  return values.length === 0 ? 1 : values.reduce((a, b) => Math.max(a, b));
}

function fixed(value: number): string {
  return trimmed(value.toFixed(1));
}
