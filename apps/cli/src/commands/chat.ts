/** `minke chat`: a conversation in the terminal, the thought dimmed. */
import { createInterface } from 'node:readline/promises';
import { chat, Engine, type LanguageModel, loadLanguageModel } from '@minke/inference';
import type { ChatMessage } from '@minke/tokenizer-merging/chat';
import type { Command } from 'commander';
import {
  addBackendOptions,
  type BackendOptions,
  embeddedModel,
  nonNegativeInteger,
  nonNegativeNumber,
  openBackend,
  printJson,
} from '../options.ts';

interface Options extends BackendOptions {
  readonly message?: string;
  readonly temperature?: number;
  readonly seed: number;
  readonly json?: boolean;
}

export function addChat(program: Command): void {
  const command = program
    .command('chat')
    .description('talk to a model in the terminal')
    .argument('[folder]', 'model folder; default: the embedded model', embeddedModel)
    .option('-m, --message <text>', 'ask this one question and exit')
    .option('--temperature <t>', 'sampling temperature; 0 is greedy', nonNegativeNumber)
    .option('--seed <n>', 'seed of the draws', nonNegativeInteger, 0)
    .option('--json', 'with --message: print { thought, answer, finish, usage }');
  addBackendOptions(command).action(async (folder: string, options: Options) => {
    if (options.json && options.message === undefined) command.error('--json needs --message');
    const backend = await openBackend(options);
    const language = await loadLanguageModel(folder, { backend });
    const engine = new Engine(language.model);
    if (options.message !== undefined)
      await answer(engine, language, [{ role: 'user', content: options.message }], options);
    else await converse(engine, language, options);
    engine.dispose();
    backend.dispose();
  });
}

/** Streams one answer; returns its text. Ctrl-C stops the answer. */
async function answer(
  engine: Engine,
  language: LanguageModel,
  messages: readonly ChatMessage[],
  options: Options,
): Promise<string> {
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once('SIGINT', interrupt);
  const dim = process.stdout.isTTY ? { on: '\x1b[2m', off: '\x1b[22m' } : { on: '', off: '' };
  let thought = '';
  let text = '';
  try {
    const { temperature, seed } = options;
    for await (const part of chat(engine, language, messages, { temperature, seed, signal: stop.signal })) {
      if (part.finish !== undefined) {
        if (options.json) printJson({ thought, answer: text, finish: part.finish, usage: part.usage });
        else process.stdout.write('\n');
        continue;
      }
      if (part.thought !== undefined) thought += part.thought;
      else text += part.text;
      if (options.json) continue;
      if (part.thought !== undefined) process.stdout.write(`${dim.on}${part.thought}${dim.off}`);
      else process.stdout.write(text === part.text && thought !== '' ? `\n\n${part.text}` : part.text);
    }
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
  return text;
}

async function converse(engine: Engine, language: LanguageModel, options: Options): Promise<void> {
  const terminal = process.stdin.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal });
  lines.on('SIGINT', () => process.emit('SIGINT'));
  const leave = () => process.exit(130);
  const messages: ChatMessage[] = [];
  if (terminal) process.stderr.write('Ask a question; Ctrl-C stops an answer, twice leaves, Ctrl-D too.\n');
  lines.setPrompt('> ');
  if (terminal) lines.prompt();
  process.on('SIGINT', leave);
  for await (const line of lines) {
    if (line.trim() !== '') {
      messages.push({ role: 'user', content: line.trim() });
      process.removeListener('SIGINT', leave);
      try {
        messages.push({ role: 'assistant', content: await answer(engine, language, messages, options) });
      } catch (problem) {
        messages.pop();
        process.stderr.write(`\n${(problem as Error).message}\n`);
      }
      process.on('SIGINT', leave);
    }
    if (terminal) lines.prompt();
  }
  process.removeListener('SIGINT', leave);
}
