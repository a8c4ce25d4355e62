/**
 * Training rows in the Hub's formats, read and written as JSON lines: conversations (`messages`), preferences
 * (`prompt`, `chosen`, `rejected`) and prompts (`prompt` and what rewards need), as TRL names them
 * (https://huggingface.co/docs/trl/dataset_formats).
 *
 * Standard (text) and conversational (lists of messages) columns are both read; what comes out is always
 * conversational. A thought may stand in `reasoning_content`, in `thinking`, or in the text between `<think>` and
 * `</think>`; it comes out in `reasoning_content`. Columns that a format does not name are kept in `extra`.
 */
import { MinkeError, Random } from '@minke/core';
import { family } from './families.ts';
import { type ByteChunks, type JsonLinesOptions, lineError, readJsonLines } from './json-lines.ts';
import type { FactsOf, FamilyName, Problem } from './problem.ts';
import { isRight, shown } from './reasoning.ts';
import { answerSentence } from './solution.ts';

/** One message of a conversation. */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly unknown[];
}

/** The columns of a row that its format does not name, for example `answer` and `metadata`. */
export interface Extra {
  readonly extra: Readonly<Record<string, unknown>>;
}

/** A conversation to imitate. */
export interface MessagesRow extends Extra {
  readonly messages: readonly Message[];
}

/** Two replies to a prompt, the first the better one. */
export interface PreferenceRow extends Extra {
  readonly prompt: readonly Message[];
  readonly chosen: readonly Message[];
  readonly rejected: readonly Message[];
}

/** A prompt to answer; rewards find what they need in `extra`. */
export interface PromptRow extends Extra {
  readonly prompt: readonly Message[];
}

/** Row type of each format. */
export interface RowOf {
  messages: MessagesRow;
  preference: PreferenceRow;
  prompt: PromptRow;
}

/** Name of a row format. */
export type RowFormat = keyof RowOf;

const columns: Readonly<Record<RowFormat, readonly string[]>> = {
  messages: ['messages'],
  preference: ['chosen', 'rejected'],
  prompt: ['prompt'],
};

const roles: readonly unknown[] = ['system', 'user', 'assistant', 'tool'];

type Fail = (message: string) => MinkeError;
type Value = Readonly<Record<string, unknown>>;

function message(value: unknown, where: string, fail: Fail): Message {
  if (typeof value !== 'object' || value === null)
    throw fail(`expected a message in ${where}, got ${JSON.stringify(value)}`);
  const { role, content, reasoning_content, thinking, tool_calls } = value as Value;
  if (!roles.includes(role))
    throw fail(
      `expected role ${roles.join(', ')} in ${where}, got ${JSON.stringify(role) ?? 'none'}` +
        ('from' in value ? '; `from`/`value` is the ShareGPT form: rename them to `role`/`content`' : ''),
    );
  const calls = Array.isArray(tool_calls) ? { tool_calls } : {};
  const text = content ?? (Array.isArray(tool_calls) ? '' : undefined);
  if (typeof text !== 'string')
    throw fail(`expected text in ${where}.content, got ${JSON.stringify(content) ?? 'none'}`);
  const thought = reasoning_content ?? thinking;
  if (thought !== undefined && thought !== null) {
    if (typeof thought !== 'string')
      throw fail(`expected text in ${where}.reasoning_content, got ${JSON.stringify(thought)}`);
    return { role: role as Message['role'], content: text, reasoning_content: thought, ...calls };
  }
  const tagged = role === 'assistant' ? text.split(/^\s*<think>\n?|\n?<\/think>\s*/) : [];
  if (tagged.length === 3 && tagged[0] === '')
    return {
      role: 'assistant',
      content: tagged[2] as string,
      reasoning_content: tagged[1] as string,
      ...calls,
    };
  return { role: role as Message['role'], content: text, ...calls };
}

/** A column as messages: a list of them, or a text said by `role`. */
function messages(row: Value, column: string, role: Message['role'], fail: Fail): Message[] {
  const value = row[column];
  if (typeof value === 'string') return [message({ role, content: value }, column, fail)];
  if (!Array.isArray(value) || value.length === 0)
    throw fail(
      `expected text or a list of messages in ${column}, got ${JSON.stringify(value)?.slice(0, 80) ?? 'none'}`,
    );
  return value.map((item, i) => message(item, `${column}[${i}]`, fail));
}

function without(row: Value, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name)));
}

/** Which format the columns of a row belong to, for a hint. */
function guessed(row: Value): string {
  const found = (Object.keys(columns) as RowFormat[]).find((format) =>
    columns[format].every((name) => name in row),
  );
  if (found !== undefined) return `; this looks like the ${found} format`;
  if ('conversations' in row) return '; `conversations` is the ShareGPT form: rename it to `messages`';
  return '';
}

function preference(row: Value, fail: Fail): PreferenceRow {
  let chosen = messages(row, 'chosen', 'assistant', fail);
  let rejected = messages(row, 'rejected', 'assistant', fail);
  let prompt: Message[];
  if ('prompt' in row) prompt = messages(row, 'prompt', 'user', fail);
  else {
    // Without a prompt column both hold the whole conversation; what they share at their start is the prompt.
    let shared = 0;
    const same = (i: number) => JSON.stringify(chosen[i]) === JSON.stringify(rejected[i]);
    while (shared < Math.min(chosen.length, rejected.length) && same(shared)) shared++;
    prompt = chosen.slice(0, shared);
    chosen = chosen.slice(shared);
    rejected = rejected.slice(shared);
    if (shared === 0)
      throw fail('expected a prompt column, or chosen and rejected that begin with the same messages');
  }
  if (chosen.length === 0 || rejected.length === 0)
    throw fail('expected chosen and rejected to differ, got the same');
  return { prompt, chosen, rejected, extra: without(row, ['prompt', 'chosen', 'rejected']) };
}

const readers: { readonly [Format in RowFormat]: (row: Value, fail: Fail) => RowOf[Format] } = {
  messages(row, fail) {
    const conversation = messages(row, 'messages', 'user', fail);
    if (!conversation.some(({ role }) => role === 'assistant'))
      throw fail('expected an assistant message to learn from, got none');
    return { messages: conversation, extra: without(row, ['messages']) };
  },
  preference,
  prompt: (row, fail) => ({ prompt: messages(row, 'prompt', 'user', fail), extra: without(row, ['prompt']) }),
};

/**
 * One row of a format from its columns, wherever they were read.
 *
 * @param fail makes the error for what is wrong with the row; it knows which file and row they are of
 * @throws what `fail` makes, for missing or ill-typed columns; MinkeError `invalid-argument` for an unknown format
 * @example
 * readRow({ prompt: 'What is 2 + 2?', answer: '4' }, 'prompt', (text) => new MinkeError('invalid-file', text));
 */
export function readRow<Format extends RowFormat>(
  value: Readonly<Record<string, unknown>>,
  format: Format,
  fail: (message: string) => MinkeError,
): RowOf[Format] {
  if (!Object.hasOwn(columns, format))
    throw new MinkeError(
      'invalid-argument',
      `readRows: expected ${Object.keys(columns).join(', ')}, got ${format}`,
    );
  const missing = columns[format].filter((name) => !(name in value));
  if (missing.length > 0)
    throw fail(
      `expected column ${missing.join(', ')} of the ${format} format, got ${Object.keys(value).join(', ') || 'none'}${guessed(value)}`,
    );
  return readers[format](value, fail);
}

/**
 * The rows of a JSON lines file in one of the formats, as the bytes arrive.
 *
 * @throws MinkeError `invalid-file` with the line for what `readJsonLines` refuses, and for missing or ill-typed columns.
 * @example
 * for await (const { prompt, extra } of readRows(createReadStream('prompts.jsonl'), 'prompt')) ...
 */
export async function* readRows<Format extends RowFormat>(
  source: ByteChunks,
  format: Format,
  options: JsonLinesOptions = {},
): AsyncGenerator<RowOf[Format]> {
  for await (const { line, value } of readJsonLines(source, options))
    yield readRow(value, format, (text) => lineError(options.name ?? 'input', line, text));
}

/** A problem as a prompt-only row, with everything `verify` needs. */
export function toPrompt(problem: Problem) {
  const { id, family: name, difficulty, answer, metadata } = problem;
  return {
    prompt: [{ role: 'user', content: problem.prompt }],
    id,
    family: name,
    difficulty,
    answer,
    metadata,
  } as const;
}

/**
 * A problem as a preference: its answer against a plausible wrong one, drawn by the seed; null where the family finds
 * no wrong one.
 */
export function toPreference(problem: Problem, seed = 0) {
  const wrong = wrongAnswer(
    problem.family,
    problem,
    new Random(seed, Number.parseInt(problem.id.slice(8), 16)),
  );
  if (wrong === null) return null;
  const reply = (answer: string) => [
    { role: 'assistant', content: answerSentence({ ...problem, answer }) } as const,
  ];
  const { id, family: name, difficulty } = problem;
  return {
    prompt: [{ role: 'user', content: problem.prompt } as const],
    chosen: reply(problem.answer),
    rejected: reply(wrong),
    id,
    family: name,
    difficulty,
  };
}

function wrongAnswer<Name extends FamilyName>(name: Name, problem: Problem, random: Random): string | null {
  const { reasoning } = family(name);
  const facts = problem.metadata as FactsOf[Name];
  for (let vain = 0; vain < 30; vain++) {
    const guess = reasoning.guess(facts, random);
    if (!isRight(reasoning, facts, guess)) return shown(reasoning, guess, problem.language ?? 'en');
  }
  return null;
}
