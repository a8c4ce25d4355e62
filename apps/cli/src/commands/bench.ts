/** `minke bench`: how fast a model trains, reads and writes here; `--trace` shows where the time goes. */
import { type CacheType, Engine } from '@minke/inference';
import { AdamW, Arena, affine, crossEntropy, sum } from '@minke/tensor';
import { type DeepSeekModel, loadModel } from '@minke/transformer';
import type { Command } from 'commander';
import { ChromeTrace } from '../chrome-trace.ts';
import {
  addBackendOptions,
  addCacheTypeOption,
  addModelArgument,
  type BackendOptions,
  openBackend,
  positiveInteger,
  printJson,
} from '../options.ts';

interface Options extends BackendOptions {
  readonly sequences: number;
  readonly length: number;
  readonly tokens: number;
  readonly rounds: number;
  readonly cacheType?: CacheType;
  readonly trace?: string;
  readonly json?: boolean;
}

/** Something to time; `run` handles `tokens` tokens. */
interface Case {
  readonly name: 'train-step' | 'prefill' | 'decode';
  readonly tokens: number;
  run(): Promise<void>;
}

export function addBench(program: Command): void {
  const command = program
    .command('bench')
    .description('tokens a second of a training step, of reading a prompt and of generating')
    .option('--sequences <n>', 'sequences of a batch', positiveInteger, 16)
    .option('--length <n>', 'tokens of a training sequence and of a prompt', positiveInteger, 128)
    .option('--tokens <n>', 'tokens each sequence generates', positiveInteger, 32)
    .option('--rounds <n>', 'rounds, of which the median counts', positiveInteger, 5)
    .option('--trace <file>', 'also write a Chrome trace of one round of each here')
    .option('--json', 'print the figures as JSON');
  addModelArgument(command);
  addCacheTypeOption(command);
  addBackendOptions(command).action(async (folder: string, options: Options) => {
    const backend = await openBackend(options);
    const model = await loadModel(folder, { backend });
    const { maxPositions } = model.config;
    if (options.length + options.tokens > maxPositions)
      command.error(
        `error: expected --length and --tokens of at most ${maxPositions} together (the context), got ${options.length} and ${options.tokens}`,
      );
    const { sequences: maxSequences, cacheType } = options;
    const engine = new Engine(model, { maxSequences, contextLength: maxPositions, cacheType });
    const cases = [...inferenceCases(engine, model, options), trainingCase(model, options)];
    const results: { case: string; ms: number; tokensPerSecond: number }[] = [];
    for (const each of cases) {
      const ms = await medianTime(each, options.rounds);
      results.push({ case: each.name, ms, tokensPerSecond: (each.tokens / ms) * 1000 });
    }
    const commands = options.trace === undefined ? undefined : await trace(model, cases, options.trace);
    if (options.json) printJson({ backend: backend.info, results, ...(commands && { commands }) });
    else print(results, commands);
    await engine.dispose();
    backend.dispose();
  });
}

async function medianTime({ run }: Case, rounds: number): Promise<number> {
  await run();
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const start = performance.now();
    await run();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[rounds >> 1] as number;
}

/** Ids that differ from row to row; which ones does not matter for the time. */
function exampleIds(model: DeepSeekModel, sequence: number, length: number): number[] {
  return Array.from({ length }, (_, i) => (sequence * 7919 + i * 104729) % model.config.vocabSize);
}

function inferenceCases(engine: Engine, model: DeepSeekModel, options: Options): Case[] {
  const { sequences, length, tokens } = options;
  const sampling = { temperature: 1, topP: 1, topK: 0, minP: 0 };
  const generate = async (promptLength: number, maxNewTokens: number) => {
    const one = async (i: number) => {
      const promptIds = exampleIds(model, i, promptLength);
      for await (const _ of engine.generate({
        promptIds,
        maxNewTokens,
        sampling,
        seed: i,
        stopTokenIds: [],
      }));
    };
    await Promise.all(Array.from({ length: sequences }, (_, i) => one(i)));
  };
  return [
    { name: 'prefill', tokens: sequences * length, run: () => generate(length, 1) },
    { name: 'decode', tokens: sequences * tokens, run: () => generate(1, tokens) },
  ];
}

function trainingCase(model: DeepSeekModel, { sequences, length }: Options): Case {
  const ids = Array.from({ length: sequences }, (_, i) => exampleIds(model, i, length));
  const targets = ids.flatMap((row) => [...row.slice(1), -1]);
  const trained = new Map([...model.parameters()].filter(([, p]) => p.requiresGrad));
  // A rate of zero: the model stays what it is.
  const optimizer = new AdamW(trained, { lr: 0, maxGradNorm: 1 });
  const arena = new Arena(model.backend, { grad: true, label: 'training step' });
  const run = async () => {
    const { logits } = model.forward(model.batch(arena, ids));
    const losses = crossEntropy(logits, arena.tensor(targets, [targets.length], 'i32'));
    const loss = affine(sum(losses), 1 / targets.length, 0);
    loss.backward();
    optimizer.step(arena);
    optimizer.zeroGrad(arena);
    await loss.read();
    arena.reset();
  };
  return { name: 'train-step', tokens: targets.length, run };
}

async function trace(model: DeepSeekModel, cases: readonly Case[], file: string) {
  const recording = new ChromeTrace(model.backend);
  for (const { name, run } of cases) await recording.phase(name, run);
  recording.save(file);
  return recording.totals();
}

function print(
  results: readonly { case: string; ms: number; tokensPerSecond: number }[],
  commands: readonly { op: string; calls: number; ms: number }[] | undefined,
): void {
  const line = (text: string) => process.stdout.write(`${text}\n`);
  line(`${'case'.padEnd(12)}${'ms'.padStart(12)}${'tokens/s'.padStart(12)}`);
  for (const { case: name, ms, tokensPerSecond } of results)
    line(`${name.padEnd(12)}${ms.toFixed(1).padStart(12)}${tokensPerSecond.toFixed(0).padStart(12)}`);
  if (commands === undefined) return;
  line(`\n${'command'.padEnd(28)}${'calls'.padStart(8)}${'ms'.padStart(10)}   of one round each`);
  for (const { op, calls, ms } of commands)
    line(`${op.padEnd(28)}${String(calls).padStart(8)}${ms.toFixed(2).padStart(10)}`);
}
