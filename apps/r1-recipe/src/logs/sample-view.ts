/**
 * A line of `samples.jsonl` as a reader wants it: prompt, thought and answer apart, and what it was worth.
 */
import type { JsonLine } from './json-lines.ts';

export interface SampleView {
  readonly step: number | null;
  readonly prompt: string;
  /** Null where there is none. */
  readonly thought: string | null;
  readonly answer: string;
  /** The total, or null where it could not be judged. */
  readonly reward: number | null;
  readonly rewards: Readonly<Record<string, number | null>>;
  readonly advantage: number | null;
  /** Cut by the length limit. */
  readonly cut: boolean;
}

export function sampleView(line: JsonLine): SampleView {
  const completion = textOf(line.completion);
  return {
    step: numberOf(line.global_step),
    prompt: textOf(line.prompt),
    ...splitThought(completion),
    reward: numberOf(line.reward),
    rewards: rewardsOf(line),
    advantage: numberOf(line.advantage),
    cut: line.finish === 'length',
  };
}

/** The template may already have opened the thought, so only its end is sure to be there. */
function splitThought(completion: string): { thought: string | null; answer: string } {
  const end = completion.indexOf('</think>');
  const body = (text: string) => text.replace(/^\s*<think>/, '').trim();
  if (end >= 0)
    return { thought: body(completion.slice(0, end)) || null, answer: completion.slice(end + 8).trim() };
  if (/^\s*<think>/.test(completion)) return { thought: body(completion), answer: '' };
  return { thought: null, answer: completion.trim() };
}

function rewardsOf(line: JsonLine): Record<string, number | null> {
  const inner = typeof line.rewards === 'object' && line.rewards !== null ? line.rewards : {};
  const flat = Object.entries(line).flatMap(([name, value]): [string, unknown][] =>
    name.startsWith('rewards/') ? [[name.slice(8), value]] : [],
  );
  return Object.fromEntries(
    [...Object.entries(inner), ...flat].map(([name, value]) => [name, numberOf(value)]),
  );
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return '';
  return value
    .map((message) => textOf((message as { content?: unknown } | null)?.content))
    .filter((text) => text !== '')
    .join('\n');
}

function numberOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}
