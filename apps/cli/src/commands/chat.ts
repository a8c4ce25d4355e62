/**
 * `minke chat`: a conversation in the terminal. The thought is dimmed; where standard output is no terminal it
 * goes to standard error, so that a pipe gets the answers only. Ctrl-C stops an answer, a second one leaves.
 */
import { createInterface } from 'node:readline/promises';
import type { CacheType, QuantizedStorage } from '@minke/inference';
import { type EngineClient, startEngine } from '@minke/serving';
import type { ChatMessage } from '@minke/tokenizer-merging/chat';
import type { Command } from 'commander';
import {
  addBackendOptions,
  addCacheTypeOption,
  addModelArgument,
  addQuantizeOption,
  type BackendOptions,
  nonNegativeInteger,
  nonNegativeNumber,
  positiveInteger,
  printJson,
} from '../options.ts';

interface Options extends BackendOptions {
  readonly message?: string;
  readonly temperature?: number;
  readonly maxTokens?: number;
  readonly seed?: number;
  readonly json?: boolean;
  readonly quantize?: QuantizedStorage;
  readonly cacheType?: CacheType;
}

export function addChat(program: Command): void {
  const command = program
    .command('chat')
    .description('talk to a model in the terminal, or to it line by line through a pipe')
    .option('-m, --message <text>', 'ask this one question and exit')
    .option(
      '--temperature <t>',
      'sampling temperature; 0 is greedy; default: as the model asks',
      nonNegativeNumber,
    )
    .option('--max-tokens <n>', 'tokens of one answer; default: to the end of the context', positiveInteger)
    .option('--seed <n>', 'seed of the draws; default: another each time', nonNegativeInteger)
    .option('--json', 'print one object { thought, answer, finish, usage } a question');
  addModelArgument(command);
  addQuantizeOption(command);
  addCacheTypeOption(command);
  addBackendOptions(command).action(async (modelFolder: string, options: Options) => {
    const { backend, threads, quantize, cacheType } = options;
    const settings = { modelFolder, backend, threads, quantize, cacheType };
    const engine = await startEngine({ ...settings, maxSequences: 1 });
    const interrupts = new Interrupts();
    try {
      if (options.message === undefined) await converse(engine, options, interrupts);
      else {
        const question: ChatMessage = { role: 'user', content: options.message };
        const { stopped } = await answer(engine, [question], options, interrupts);
        if (stopped) process.exitCode = 130;
      }
    } finally {
      await engine.stop();
    }
  });
}

/** Who a Ctrl-C is for: the answer under way, else the process. */
class Interrupts {
  #answer: AbortController | undefined;
  readonly handle = (): void => {
    if (this.#answer === undefined) process.exit(130);
    this.#answer.abort();
    this.#answer = undefined;
  };

  constructor() {
    process.on('SIGINT', this.handle);
  }

  begin(): AbortSignal {
    this.#answer = new AbortController();
    return this.#answer.signal;
  }

  end(): void {
    this.#answer = undefined;
  }
}

/** Streams one answer; returns its text, and whether Ctrl-C cut it. */
async function answer(
  engine: EngineClient,
  messages: readonly ChatMessage[],
  options: Options,
  interrupts: Interrupts,
): Promise<{ text: string; stopped: boolean }> {
  const { temperature, maxTokens, seed, json } = options;
  const plain = { topP: undefined, topK: undefined, minP: undefined, stop: [] };
  const signal = interrupts.begin();
  let thought = '';
  let text = '';
  try {
    for await (const event of engine.chat({ messages, temperature, maxTokens, seed, ...plain }, signal)) {
      if (event.type === 'end') {
        const { finish, usage } = event;
        if (json) printJson({ thought, answer: text, finish, usage });
        else process.stdout.write('\n');
      } else if (event.type === 'part') {
        if (!json) show(event, { first: text === '' && thought !== '' });
        thought += event.thought ?? '';
        text += event.text ?? '';
      }
    }
    return { text, stopped: false };
  } catch (problem) {
    if (!signal.aborted) throw problem;
    process.stderr.write('\n(stopped)\n');
    return { text, stopped: true };
  } finally {
    interrupts.end();
  }
}

/** @param first the first of the answer after a thought, which gets a line of its own */
function show({ thought, text }: { thought?: string; text?: string }, { first }: { first: boolean }): void {
  const terminal = process.stdout.isTTY === true;
  if (thought && terminal) process.stdout.write(`\x1b[2m${thought}\x1b[22m`);
  else if (thought) process.stderr.write(thought);
  if (!text) return;
  if (first) (terminal ? process.stdout : process.stderr).write('\n\n');
  process.stdout.write(text);
}

async function converse(engine: EngineClient, options: Options, interrupts: Interrupts): Promise<void> {
  const terminal = process.stdin.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal, prompt: '> ' });
  lines.on('SIGINT', interrupts.handle);
  if (terminal) {
    const { id, description } = engine.facts;
    process.stderr.write(`${id}: ${description}\nCtrl-C stops an answer, Ctrl-D leaves.\n`);
    lines.prompt();
  }
  let messages: ChatMessage[] = [];
  for await (const line of lines) {
    const content = line.trim();
    if (content !== '') {
      // A model made for single questions would only be confused by the earlier ones.
      if (engine.facts.turns === 'single') messages = [];
      messages.push({ role: 'user', content });
      try {
        const { text } = await answer(engine, messages, options, interrupts);
        messages.push({ role: 'assistant', content: text });
      } catch (problem) {
        messages.pop();
        if (!engine.alive) throw problem;
        process.stderr.write(`minke: ${(problem as Error).message}\n`);
        process.exitCode = 1;
      }
    }
    if (terminal) lines.prompt();
  }
}
