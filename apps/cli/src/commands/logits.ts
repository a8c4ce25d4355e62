/**
 * `minke logits`: next-token logits after each position, in one shot or token by token, in either form of
 * attention. It answers "is my conversion right?".
 */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { openSafetensors } from '@minke/checkpoints';
import type { Backend } from '@minke/core';
import { Arena } from '@minke/tensor';
import { Tokenizer } from '@minke/tokenizer-merging/tokenizer';
import { type DeepSeekModel, loadModel, readConfig } from '@minke/transformer';
import { UsageError } from '../failure.ts';
import { type BackendOptions, openBackend } from '../options.ts';

export interface LogitsOptions extends BackendOptions {
  readonly ids: readonly number[];
  readonly form?: 'expanded' | 'absorbed';
  readonly step?: boolean;
  readonly json?: boolean;
}

export async function logits(from: string, options: LogitsOptions): Promise<void> {
  const backend = await openBackend(options);
  try {
    const model = await open(from, backend);
    const { vocabSize, maxPositions } = model.config;
    const outside = options.ids.find((id) => id >= vocabSize);
    if (outside !== undefined)
      throw new UsageError(`--ids: expected ids below ${vocabSize} (the vocabulary), got ${outside}`);
    if (options.ids.length > maxPositions)
      throw new UsageError(
        `--ids: expected at most ${maxPositions} ids (the context), got ${options.ids.length}`,
      );
    const rows = options.step ? await stepByStep(model, options) : await oneShot(model, options);
    if (options.json) {
      process.stdout.write(`${JSON.stringify({ logits: rows.map((row) => [...row]) })}\n`);
    } else {
      const tokenizer = await tokenizerBeside(from);
      for (const [position, row] of rows.entries())
        process.stdout.write(`${position}  ${best(row, tokenizer)}\n`);
    }
  } finally {
    backend.dispose();
  }
}

async function open(from: string, backend: Backend): Promise<DeepSeekModel> {
  if ((await kindOf(from)) === 'folder') return loadModel(from, { backend });
  const config = await readConfig(dirname(from));
  const weights = await openSafetensors(from);
  try {
    return await loadModel({ config, weights }, { backend });
  } finally {
    await weights.close();
  }
}

async function kindOf(path: string): Promise<'folder' | 'file'> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined)
    throw new UsageError(`expected a model folder or a .safetensors file, but ${path} does not exist`);
  return found.isDirectory() ? 'folder' : 'file';
}

/** [T][V], all positions in one pass. */
async function oneShot(model: DeepSeekModel, { ids, form }: LogitsOptions): Promise<ArrayLike<number>[]> {
  using arena = new Arena(model.backend);
  const { logits } = model.forward(model.batch(arena, [ids]), form === undefined ? {} : { form });
  const all = await logits.read();
  const { vocabSize } = model.config;
  return ids.map((_, i) => all.subarray(i * vocabSize, (i + 1) * vocabSize));
}

/** The same, one token after another beside the latent cache. */
async function stepByStep(model: DeepSeekModel, { ids, form }: LogitsOptions): Promise<ArrayLike<number>[]> {
  using arena = new Arena(model.backend);
  using cache = model.createCache({ maxTokens: ids.length });
  const rows: ArrayLike<number>[] = [];
  for (const id of ids) {
    const batch = cache.append(arena, [{ sequence: 0, count: 1, role: 'generated' }]);
    const tokens = arena.tensor([id], [1], 'i32');
    const { logits } = model.forward({ ids: tokens, ...batch }, { cache, ...(form && { form }) });
    rows.push(await logits.read());
    arena.reset();
  }
  return rows;
}

async function tokenizerBeside(from: string): Promise<Tokenizer | undefined> {
  const folder = (await kindOf(from)) === 'folder' ? from : dirname(from);
  const text = await readFile(join(folder, 'tokenizer.json'), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : Tokenizer.parse(text);
}

/** The five largest: `123 "text" 4.56`. */
function best(row: ArrayLike<number>, tokenizer: Tokenizer | undefined): string {
  return Array.from(row, (value, id) => ({ value, id }))
    .sort((a, b) => b.value - a.value || a.id - b.id)
    .slice(0, 5)
    .map(({ value, id }) => {
      const text = tokenizer === undefined ? '' : ` ${JSON.stringify(tokenizer.decode([id]))}`;
      return `${id}${text} ${value.toFixed(4)}`;
    })
    .join('   ');
}
