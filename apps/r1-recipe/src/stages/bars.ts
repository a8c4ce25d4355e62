/**
 * What the recipe has to show, for the preset `full` and for `demo` over several seeds; `ci` is too small for any of it.
 * Every figure is of held-out problems.
 */
import type { Bar, Figure } from '../report/bars.ts';

const of = (stage: string, metric: string): Figure => ({ stage, metric });

/** A bar on one figure of a stage, or on its rise over that of another. */
const bar = (
  what: string,
  figure: Figure,
  bound: Bar['bound'],
  limit: number,
  to: Pick<Bar, 'minus' | 'over'> = {},
): Bar => ({ what, of: figure, ...to, bound, limit });

const since = (stage: string, metric: string) => ({ minus: of(stage, metric) });
const times = (stage: string, metric: string, floor = 0) => ({ over: { ...of(stage, metric), floor } });

export const recipeBars: readonly Bar[] = [
  bar(
    'R1-Zero: greedy accuracy on parity over the base',
    of('zero', 'set/parity'),
    'at least',
    0.3,
    since('base', 'set/parity'),
  ),
  bar(
    'R1-Zero: length of thoughts on parity over the base, one token at least, as a ratio',
    of('zero', 'length/parity thought'),
    'at least',
    3,
    times('base', 'length/parity thought', 1),
  ),
  bar('R1-Zero: share of parity answers with a thought', of('zero', 'thinking/parity'), 'at least', 0.9),
  bar('R1-Zero: language consistency, in samples', of('zero', 'language/sampled'), 'below', 0.9),
  bar('GRPO 1: language consistency, in samples', of('grpo-1', 'language/sampled'), 'at least', 0.98),
  bar(
    'GRPO 1: greedy accuracy on arithmetic over the cold start',
    of('grpo-1', 'set/arithmetic'),
    'at least',
    0.25,
    since('cold-start', 'set/arithmetic'),
  ),
  bar(
    'Self-evolution: accuracy on searches over GRPO 1, as a ratio',
    of('self-evolution', 'set/search'),
    'at least',
    2,
    times('grpo-1', 'set/search'),
  ),
  bar(
    'Self-evolution: verified retries over GRPO 1, as a ratio',
    of('self-evolution', 'search/verified retries'),
    'at least',
    2,
    times('grpo-1', 'search/verified retries'),
  ),
  bar(
    'SFT 2: greedy accuracy over self-evolution',
    of('sft-2', 'pass@1'),
    'at least',
    -0.03,
    since('self-evolution', 'pass@1'),
  ),
  bar(
    'SFT 2: helpfulness of replies over self-evolution',
    of('sft-2', 'general/helpful'),
    'above',
    0,
    since('self-evolution', 'general/helpful'),
  ),
  bar(
    'GRPO 2: helpfulness of replies over SFT 2',
    of('final', 'general/helpful'),
    'at least',
    0.1,
    since('sft-2', 'general/helpful'),
  ),
  bar(
    'GRPO 2: safety of replies over SFT 2',
    of('final', 'general/safe'),
    'at least',
    0.1,
    since('sft-2', 'general/safe'),
  ),
  bar(
    'GRPO 2: greedy accuracy over SFT 2',
    of('final', 'pass@1'),
    'at least',
    -0.02,
    since('sft-2', 'pass@1'),
  ),
  bar(
    'Over-optimisation: helpfulness by the gold judge over GRPO 2',
    of('over-optimised', 'general/helpful'),
    'below',
    0,
    since('final', 'general/helpful'),
  ),
  bar(
    'Distillation: greedy accuracy over the same student by GRPO at equal FLOPs, swept',
    of('distill', 'pass@1'),
    'above',
    0,
    since('student-rl-swept', 'pass@1'),
  ),
  bar('Final model: greedy accuracy on arithmetic and parity', of('final', 'set/derived'), 'at least', 0.9),
  bar('Final model: greedy accuracy on searches', of('final', 'set/search'), 'at least', 0.65),
];
