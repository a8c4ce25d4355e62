/** `minke logits`: next-token logits of given ids; answers "is my conversion right?". */
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { openSafetensors } from '@minke/checkpoints';
import type { Backend } from '@minke/core';
import type { AttentionForm, CacheType } from '@minke/mla-attention';
import { Arena, type Tensor } from '@minke/tensor';
import { type DeepSeekModel, isGgufPath, loadModel, readConfig } from '@minke/transformer';
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  addBackendOptions,
  addCacheTypeOption,
  addModelArgument,
  type BackendOptions,
  openBackend,
  printJson,
} from '../options.ts';

interface Options extends BackendOptions {
  readonly ids: number[];
  readonly form?: AttentionForm;
  readonly step?: boolean;
  readonly cacheType?: CacheType;
  readonly json?: boolean;
}

function idList(text: string): number[] {
  const ids = text.split(',').map((part) => Number(part.trim() || Number.NaN));
  if (!ids.every((id) => Number.isSafeInteger(id) && id >= 0)) {
    throw new InvalidArgumentError('expected token ids separated by commas, for example 5,9,2.');
  }
  return ids;
}

export function addLogits(program: Command): void {
  const command = program
    .command('logits')
    .description('print the next-token logits after each position')
    .requiredOption('--ids <list>', 'token ids separated by commas', idList)
    .addOption(new Option('--form <form>', 'form of attention').choices(['expanded', 'absorbed']))
    .option('--step', 'token by token through the cache, instead of in one shot')
    .option('--json', 'print { "logits": [[...], ...] }');
  addModelArgument(command, 'model folder, a .gguf file, or a .safetensors file with config.json beside it');
  addCacheTypeOption(command);
  addBackendOptions(command).action(async (from: string, options: Options) => {
    const backend = await openBackend(options);
    const model = await open(from, backend);
    const { vocabSize, maxPositions } = model.config;
    const wrong = options.ids.find((id) => id >= vocabSize);
    if (wrong !== undefined)
      command.error(`error: --ids: expected ids below ${vocabSize} (the vocabulary), got ${wrong}`);
    if (options.ids.length > maxPositions)
      command.error(
        `error: --ids: expected at most ${maxPositions} ids (the context), got ${options.ids.length}`,
      );
    const logits = await compute(model, options);
    if (options.json) printJson({ logits });
    else for (const [t, row] of logits.entries()) process.stdout.write(`${options.ids[t]}: ${best(row)}\n`);
    backend.dispose();
  });
}

async function open(from: string, backend: Backend): Promise<DeepSeekModel> {
  if (statSync(from).isDirectory() || isGgufPath(from)) return loadModel(from, { backend });
  const config = await readConfig(dirname(from));
  const weights = await openSafetensors(from);
  try {
    return await loadModel({ config, weights }, { backend });
  } finally {
    await weights.close();
  }
}

/** The five largest logits of a row, for reading. */
function best(row: readonly number[]): string {
  const order = row.map((logit, id) => ({ logit, id })).sort((a, b) => b.logit - a.logit || a.id - b.id);
  return order
    .slice(0, 5)
    .map(({ logit, id }) => `${id} (${logit.toFixed(4)})`)
    .join('  ');
}

async function compute(model: DeepSeekModel, { ids, form, step, cacheType }: Options): Promise<number[][]> {
  using arena = new Arena(model.backend, { label: 'logits' });
  const { vocabSize } = model.config;
  const pinned = form === undefined ? {} : { form };
  const rows = async (logits: Tensor): Promise<number[][]> => {
    const flat = Array.from(await logits.read());
    return Array.from({ length: flat.length / vocabSize }, (_, n) =>
      flat.slice(n * vocabSize, (n + 1) * vocabSize),
    );
  };
  if (!step && form !== 'absorbed' && cacheType === undefined)
    return rows(model.forward(model.batch(arena, [ids]), pinned).logits);
  // The absorbed form attends to cached latents, and a cache is what rounds, so both run beside one even in one shot.
  using cache = model.createCache({ maxTokens: ids.length, sequences: 1, cacheType });
  const result: number[][] = [];
  const chunks = step ? ids.map((id) => [id]) : [ids];
  for (const chunk of chunks) {
    const batch = cache.append(arena, [
      { sequence: 0, count: chunk.length, role: step ? 'generated' : 'prompt' },
    ]);
    const { logits } = model.forward(
      { ids: arena.tensor(chunk, [chunk.length], 'i32'), ...batch },
      { cache, ...pinned },
    );
    result.push(...(await rows(logits)));
    arena.reset();
  }
  return result;
}
