/**
 * Did training sharpen what the base model could do, or extend it? Judged by pass@k, as Yue et al. 2025
 * (https://arxiv.org/abs/2504.13837) do: reinforcement that only sharpens is ahead in one sample and not in many.
 */
import type { Evaluation, EvaluationRow } from './evaluation-file.ts';
import { formatInterval, formatValue, samplesOf } from './stage-table.ts';

/** The first and the last model that were drawn most often, side by side; undefined where fewer than two were. */
export function coverageText(evaluations: readonly Evaluation[]): string | undefined {
  const sampled = samplesOf(evaluations).filter(({ points }) => points.length > 1);
  const most = Math.max(0, ...sampled.map(({ points }) => points.at(-1)?.[0] ?? 0));
  const widest = sampled.filter(({ points }) => points.at(-1)?.[0] === most);
  const [before, after] = [widest[0], widest.at(-1)];
  if (before === undefined || after === undefined || before === after) return undefined;
  const at = (k: number) => {
    const [from, to] = [before, after].map(({ points }) => points.find(([at]) => at === k)?.[1]);
    return from === undefined || to === undefined ? undefined : { from, to };
  };
  const [once, often] = [at(1), at(most)];
  if (once === undefined || often === undefined) return undefined;
  return (
    `In one sample ${after.stage} solves ${figure(once.to)} of the problems and ${before.stage} ${figure(once.from)}, ` +
    `in ${most} samples ${figure(often.to)} and ${figure(often.from)}. ${verdict(once, often)}`
  );
}

interface Pair {
  readonly from: EvaluationRow;
  readonly to: EvaluationRow;
}

function verdict(once: Pair, often: Pair): string {
  if (!above(once.to, once.from)) return 'Training made the model no more reliable.';
  if (above(often.to, often.from))
    return 'Training extended what the model can do: it solves problems that its base does not find in as many samples.';
  if (above(often.from, often.to))
    return 'Training sharpened the model and narrowed it: problems that its base finds in many samples are lost.';
  return 'Training sharpened the model: more reliable on what its base finds in many samples, with no proof of more.';
}

/** Whether intervals are apart. */
const above = (a: EvaluationRow, b: EvaluationRow) => (a.low ?? a.value) > (b.high ?? b.value);

function figure(row: EvaluationRow): string {
  const interval = formatInterval(row);
  return interval === '' ? formatValue(row.value) : `${formatValue(row.value)} (${interval})`;
}
