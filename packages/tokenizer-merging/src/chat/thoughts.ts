/**
 * Thought tags in finished text: cutting a whole answer into thought and answer, and asking whether a prompt
 * leaves the model inside a thought. For text that arrives in pieces see `thought-parser.ts`.
 */

/** The tags of DeepSeek-R1 and its distills, Qwen3 and most others. */
export const thinkTags = { open: '<think>', close: '</think>' } as const;

/** A thought and the answer after it; `thought` is undefined where there was no tag at all. */
export interface SplitAnswer {
  readonly thought: string | undefined;
  readonly answer: string;
}

/**
 * Cuts at the last `</think>`: the answer is what follows it, exactly; the thought is what precedes it,
 * without its tags and outer newlines. The opening tag may be missing, since R1's prompt already gives it.
 */
export function splitThought(text: string): SplitAnswer {
  const close = text.lastIndexOf(thinkTags.close);
  if (close < 0) return { thought: undefined, answer: text };
  const inner = text.slice(0, close).replaceAll(thinkTags.open, '').replaceAll(thinkTags.close, '');
  // By hand: a regular expression for the newlines at the end looks at every run of them to its end, again and again.
  let from = 0;
  while (inner[from] === '\n') from++;
  let to = inner.length;
  while (to > from && inner[to - 1] === '\n') to--;
  const thought = inner.slice(from, to);
  return { thought, answer: text.slice(close + thinkTags.close.length) };
}

/** True where a prompt ends in an opened thought, so that the reply starts inside it. */
export function endsInThought(prompt: string): boolean {
  return /<think>\s*$/.test(prompt);
}
