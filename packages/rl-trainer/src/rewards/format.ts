/**
 * Rewards for the shape of a completion: the whole format (1 or 0), its dense version by tags, and the format as a
 * small tax.
 *
 * R1-Zero puts its reasoning between `<think>` and `</think>` and its result between `<answer>` and `</answer>`
 * (DeepSeek-R1, https://arxiv.org/abs/2501.12948, section 2.2.2 and table 1); R1 itself has no answer tags. Tag count
 * after open-r1 (https://github.com/huggingface/open-r1, `tag_count_reward`). Differences from open-r1: white space
 * around tags is free (its pattern demands newlines, so that `<think>x` scores 0 for ever), and the opening tag may
 * be part of the prompt. The tax is tinker-cookbook's `correct + 0.1 (format - 1)`.
 */
import { check } from '@minke/core';
import { perCompletion, type Reward } from './reward.ts';
import { occurrences } from './sections.ts';

/** Which format is wanted. */
export interface FormatOptions {
  /**
   * `think` (R1): a thought, `</think>`, an answer. `think-answer` (R1-Zero): a thought, `</think>`, then
   * `<answer>...</answer>` and nothing after it. Default `think`.
   */
  readonly shape?: 'think' | 'think-answer';
  /**
   * True where the prompt ends in `<think>`: the completion must not open it again. False where the completion has
   * to open it itself. Default true, as R1's template does.
   */
  readonly opened?: boolean;
}

/**
 * True where the whole text has the format: each tag exactly once, in order, white space free around tags, nothing
 * but white space outside them, and neither thought nor answer blank.
 *
 * @example
 * hasFormat('6*7=42\n</think>\n42'); // true
 */
export function hasFormat(completion: string, options: FormatOptions = {}): boolean {
  const { shape = 'think', opened = true } = options;
  const text = completion.trim();
  if (occurrences(text, '<think>') !== (opened ? 0 : 1)) return false;
  if (!opened && !text.startsWith('<think>')) return false;
  if (occurrences(text, '</think>') !== 1) return false;
  const close = text.indexOf('</think>');
  const thought = text.slice(opened ? 0 : '<think>'.length, close);
  const visible = text.slice(close + '</think>'.length).trim();
  if (thought.trim() === '') return false;
  const answerTags = ['<answer>', '</answer>'].map((tag) => occurrences(text, tag));
  if (shape === 'think') return visible !== '' && answerTags[0] === 0 && answerTags[1] === 0;
  return (
    answerTags[0] === 1 &&
    answerTags[1] === 1 &&
    visible.startsWith('<answer>') &&
    visible.endsWith('</answer>') &&
    visible.slice('<answer>'.length, -'</answer>'.length).trim() !== ''
  );
}

/** 1 where the completion has the format, else 0. */
export function formatReward(options: FormatOptions = {}): Reward {
  return perCompletion(({ completion }) => (hasFormat(completion, options) ? 1 : 0));
}

/**
 * The share of the wanted tags that occur exactly once: of `<think>`, `</think>`, `<answer>`, `</answer>`, those that
 * the options ask of the completion. It rises before the whole format is met, which helps very small models; order
 * plays no part.
 */
export function tagCountReward(options: FormatOptions = {}): Reward {
  const { shape = 'think-answer', opened = true } = options;
  const tags = [
    ...(opened ? [] : ['<think>']),
    '</think>',
    ...(shape === 'think' ? [] : ['<answer>', '</answer>']),
  ];
  return perCompletion(
    ({ completion }) => tags.filter((tag) => occurrences(completion, tag) === 1).length / tags.length,
  );
}

/**
 * `coefficient` times (format - 1): 0 with the format, `-coefficient` without. Added to an accuracy of weight 1, the
 * format costs a little and earns nothing.
 */
export function formatTaxReward(options: FormatOptions & { readonly coefficient?: number } = {}): Reward {
  const { coefficient = 0.1 } = options;
  check(
    Number.isFinite(coefficient) && coefficient >= 0,
    () => `formatTaxReward: expected coefficient >= 0, got ${coefficient}; pass the size of the tax`,
  );
  return perCompletion(({ completion }) => (hasFormat(completion, options) ? 0 : -coefficient));
}
