/**
 * What the server and its page tell about the loaded model: counted from the model itself, and in words from a
 * `minke.json` in its folder where there is one.
 */
import { readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type BackendInfo, MinkeError } from '@minke/core';
import type { Engine } from '@minke/inference';
import { z } from 'zod';
import type { ModelFacts } from './engine-protocol.ts';

/** `minke.json`: every field may be left out. */
const ownFacts = z.object({
  id: z.string().min(1).max(200).optional(),
  description: z.string().max(1000).optional(),
  ability: z.string().max(4000).optional(),
  examples: z.array(z.string().min(1).max(300)).max(8).optional(),
  turns: z.enum(['single', 'multi']).optional(),
});

const plainFacts = {
  description: 'Ask this model a question.',
  ability: 'What it can do depends on what it was trained for; its model card should say.',
  examples: [
    'What is 348 + 977?',
    'Sort 512, 37, 960, 4 and 288.',
    'How many r are in strawberry?',
    'What is 24 times 17?',
  ],
  turns: 'multi',
} as const;

/** Throws `invalid-file` for a `minke.json` that is none. */
export async function modelFacts(
  folder: string,
  { model }: { readonly model: { parameters(): ReadonlyMap<string, { readonly size: number }> } },
  engine: Engine,
  backend: BackendInfo,
): Promise<ModelFacts> {
  let parameters = 0;
  for (const tensor of model.parameters().values()) parameters += tensor.size;
  const { name, device, threads } = backend;
  return {
    id: folderName(folder),
    ...plainFacts,
    ...(await readOwnFacts(folder)),
    parameters,
    contextLength: engine.contextLength,
    backend: `${name}, ${device}, ${threads} thread${threads === 1 ? '' : 's'}`,
  };
}

/** `runs/first/model` is called `first`, `SmolLM2.gguf` is called `SmolLM2`, a snapshot in the cache of a hub as on the hub. */
function folderName(folder: string): string {
  const path = resolve(folder);
  const cached = /models--([^/\\]+?)--([^/\\]+)[/\\]snapshots[/\\][^/\\]+$/.exec(path);
  if (cached !== null) return `${cached[1]}/${cached[2]}`;
  return basename(basename(path) === 'model' ? dirname(path) : path, '.gguf');
}

async function readOwnFacts(folder: string): Promise<Partial<ModelFacts>> {
  let text: string;
  try {
    text = await readFile(join(folder, 'minke.json'), 'utf8');
  } catch (problem) {
    // In a file there is no such file either.
    if (['ENOENT', 'ENOTDIR'].includes((problem as NodeJS.ErrnoException).code ?? '')) return {};
    throw problem;
  }
  try {
    const facts = ownFacts.parse(JSON.parse(text));
    return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new MinkeError('invalid-file', `minke.json: expected facts of the model, got ${why}`, { cause });
  }
}
