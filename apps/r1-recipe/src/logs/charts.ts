/**
 * Which curves of `metrics.jsonl` are worth a look, under the field's names, and their points.
 */
import type { JsonLine } from './json-lines.ts';

/** Points of one curve; a missing value is left out. */
export interface Curve {
  readonly label: string;
  readonly x: readonly number[];
  readonly y: readonly number[];
}

/** One chart: curves that share a scale. */
export interface Chart {
  readonly id: string;
  readonly title: string;
  readonly curves: readonly Curve[];
}

interface ChartSpec {
  readonly id: string;
  readonly title: string;
  /** By label, metric names of which the first that the file has is drawn. */
  readonly curves: Readonly<Record<string, readonly string[]>>;
}

const chartSpecs: readonly ChartSpec[] = [
  { id: 'reward', title: 'Reward', curves: { reward: ['reward'] } },
  {
    id: 'accuracy',
    title: 'Accuracy',
    curves: {
      accuracy: ['rewards/accuracy/mean', 'accuracy'],
      'token accuracy': ['mean_token_accuracy'],
      'held out': ['eval_accuracy', 'eval_rewards/accuracy/mean'],
    },
  },
  {
    id: 'length',
    title: 'Tokens per completion',
    curves: { mean: ['completions/mean_length'], longest: ['completions/max_length'] },
  },
  { id: 'loss', title: 'Loss', curves: { loss: ['loss'] } },
  { id: 'kl', title: 'KL to the reference', curves: { kl: ['kl'] } },
  { id: 'entropy', title: 'Entropy', curves: { entropy: ['entropy'] } },
  {
    id: 'language',
    title: 'Language consistency',
    curves: {
      consistency: ['language/consistency', 'rewards/language/mean', 'rewards/language_consistency/mean'],
    },
  },
  {
    id: 'experts',
    title: 'Expert balance',
    curves: { 'max violation': ['max_vio'], 'dead experts': ['dead_experts'] },
  },
  { id: 'yield', title: 'Share kept', curves: { kept: ['yield'] } },
  { id: 'margin', title: 'Reward margin', curves: { margin: ['margin', 'rewards/margins'] } },
];

const rewardTerm = /^rewards\/(.+)\/mean$/;
const rewardTermsShown = 6;

/** The charts of a log that have points, in the order a reader wants them. */
export function chartsOf(lines: readonly JsonLine[]): readonly Chart[] {
  const names = new Set(lines.flatMap((line) => Object.keys(line)));
  const [reward, ...others] = chartSpecs as [ChartSpec, ...ChartSpec[]];
  return [reward, rewardTerms(names), ...others].flatMap(({ id, title, curves }) => {
    const drawn = Object.entries(curves).flatMap(([label, candidates]) => {
      const name = candidates.find((candidate) => names.has(candidate));
      const curve = name === undefined ? undefined : curveOf(lines, name, label);
      return curve === undefined || curve.x.length === 0 ? [] : [curve];
    });
    return drawn.length === 0 ? [] : [{ id, title, curves: drawn }];
  });
}

/** The mean of each reward; one alone says no more than the reward. */
function rewardTerms(names: ReadonlySet<string>): ChartSpec {
  const terms = [...names].flatMap((name) => rewardTerm.exec(name)?.[1] ?? []).sort();
  const shown = terms.length < 2 ? [] : terms.slice(0, rewardTermsShown);
  return {
    id: 'rewards',
    title: 'Rewards by kind',
    curves: Object.fromEntries(shown.map((term) => [term, [`rewards/${term}/mean`]])),
  };
}

/** Values of a metric over steps, or batches, or else lines. */
function curveOf(lines: readonly JsonLine[], name: string, label = name): Curve {
  const points = lines.flatMap((line, i) => {
    const y = line[name];
    if (typeof y !== 'number' || !Number.isFinite(y)) return [];
    const at = [line.global_step, line.batch, i + 1].find((x) => typeof x === 'number' && Number.isFinite(x));
    return [[at as number, y] as const];
  });
  return { label, x: points.map(([x]) => x), y: points.map(([, y]) => y) };
}

/** At most `most` points, each the mean of neighbours. */
export function thinned({ label, x, y }: Curve, most: number): Curve {
  const width = Math.ceil(x.length / most);
  if (width <= 1) return { label, x, y };
  const means = (values: readonly number[]) =>
    Array.from({ length: Math.ceil(values.length / width) }, (_, i) => {
      const part = values.slice(i * width, (i + 1) * width);
      return part.reduce((sum, value) => sum + value, 0) / part.length;
    });
  return { label, x: means(x), y: means(y) };
}
