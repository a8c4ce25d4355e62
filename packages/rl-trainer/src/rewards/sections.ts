/**
 * The parts of a completion: the thought, and what the user sees.
 *
 * R1's prompt ends in `<think>`, so completions usually begin inside the thought and lack the opening tag; demanding
 * it makes a format reward 0 for ever (https://github.com/huggingface/open-r1/issues/235). So the opening tag may be
 * missing unless the caller says that the prompt does not give it.
 */

/** The parts of a completion. */
export interface Sections {
  /** Text of the thought without its tags. Where it never ends, everything. */
  readonly thought: string;
  /** What follows `</think>`; null where the thought never ends. */
  readonly visible: string | null;
}

/** Cuts at the first `</think>`; a leading `<think>` is not part of the thought. */
export function sections(completion: string): Sections {
  const close = completion.indexOf('</think>');
  const thought = (close < 0 ? completion : completion.slice(0, close)).replace(/^\s*<think>/, '');
  return { thought, visible: close < 0 ? null : completion.slice(close + '</think>'.length) };
}

/** How often `needle` occurs, without overlaps. */
export function occurrences(text: string, needle: string): number {
  let count = 0;
  for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length)) count++;
  return count;
}
