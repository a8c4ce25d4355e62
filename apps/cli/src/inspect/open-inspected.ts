/**
 * A model as `minke inspect` sees it: configuration, tensors, tokenizer and template; from headers alone, on this
 * machine or, nothing fetched, on a hub.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { type GgufFile, openCheckpoint, openGguf, openSafetensors } from '@minke/checkpoints';
import {
  HubError,
  isHubId,
  openRemoteModel,
  type RemoteModel,
  resolveModelPath,
} from '@minke/checkpoints/hub';
import { MinkeError } from '@minke/core';
import { ggufTokenizer } from '@minke/tokenizer-merging/tokenizer';
import { configFromGguf, isGgufPath, type ModelConfig, parseConfig } from '@minke/transformer';
import type { TensorRow } from './tensor-groups.ts';

/** What there is of a model. */
export interface InspectedModel {
  /** The path, or the id and commit. */
  readonly name: string;
  /** Of a model on a hub: what was asked and what came for it, in bytes. */
  readonly hub: { readonly id: string; readonly commit: string; readonly received: number } | null;
  readonly format: 'safetensors' | 'gguf';
  /** Files of the weights. */
  readonly files: readonly string[];
  /** `model_type` of config.json, `general.architecture` of GGUF. */
  readonly architecture: string;
  readonly config: ModelConfig;
  readonly tensors: readonly TensorRow[];
  /** Where each was found, null if nowhere. */
  readonly tokenizer: string | null;
  readonly template: string | null;
}

/** How to open. */
export interface OpenInspectedOptions {
  /** One weight file of several, its path in the model. */
  readonly file?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens a folder, a .gguf or .safetensors file, or a hub id: of a model in the cache what is there, else what the hub has.
 *
 * @throws MinkeError `invalid-config`, `invalid-file`, `unsupported`; HubError
 */
export async function openInspected(
  from: string,
  options: OpenInspectedOptions = {},
): Promise<InspectedModel> {
  const path = localPath(from, options.file);
  if (path === undefined) return openHub(from, options);
  if (isGgufPath(path)) {
    const file = await openGguf(path);
    try {
      return { ...(await ofGguf(file)), name: path, hub: null };
    } finally {
      await file.close();
    }
  }
  const isFile = statSync(path).isFile();
  const folder = isFile ? dirname(path) : path;
  const texts = (name: string) => readIfThere(join(folder, name));
  const config = await configOf(texts, folder);
  const weights = isFile ? await openSafetensors(path) : await openCheckpoint(path);
  try {
    const tensors = rowsOf(weights.tensors, isFile ? relative(folder, path) : '');
    return { ...config, ...(await textOf(texts)), name: path, hub: null, format: 'safetensors', ...tensors };
  } finally {
    await weights.close();
  }
}

/** Where the model lies here; undefined for one that only the hub has, or of which the cache has no weights. */
function localPath(from: string, file: string | undefined): string | undefined {
  if (file !== undefined && existsSync(join(from, file))) return join(from, file);
  const isPath = existsSync(from);
  if (!isPath && !isHubId(from))
    throw new MinkeError(
      'invalid-argument',
      `expected a model folder, a .gguf or .safetensors file, or a hub id, but ${from} does not exist`,
    );
  if (isPath && file !== undefined)
    throw new MinkeError('invalid-argument', `expected a file ${file} in ${from}, but there is none`);
  if (file !== undefined) return undefined;
  try {
    const path = resolveModelPath(from);
    const fetched =
      isPath || isGgufPath(path) || readdirSync(path).some((name) => /\.safetensors$/.test(name));
    return fetched ? path : undefined;
  } catch (problem) {
    if (problem instanceof HubError && problem.problem === 'not-cached') return undefined;
    throw problem;
  }
}

async function openHub(from: string, { file, signal }: OpenInspectedOptions): Promise<InspectedModel> {
  const remote = await openRemoteModel(from, { signal });
  const hub = () => ({ id: remote.id, commit: remote.commit, received: remote.received });
  const name = `${remote.id}@${remote.commit.slice(0, 8)}`;
  const weights = file ?? weightsOf(remote);
  if (isGgufPath(weights)) {
    const opened = await ofGguf(await remote.openGguf(weights));
    return { ...opened, name, hub: hub() };
  }
  const config = await configOf(remote.readText, remote.id);
  const { files, tensors } = await remote.openSafetensors(file);
  const text = await textOf(remote.readText, remote);
  return { ...config, ...text, name, hub: hub(), format: 'safetensors', ...rowsOf(tensors, ''), files };
}

/** The file that holds the weights or their index. */
function weightsOf({ id, files }: RemoteModel): string {
  const paths = files.map(({ path }) => path);
  const safetensors = ['model.safetensors.index.json', 'model.safetensors'].find((name) =>
    paths.includes(name),
  );
  if (safetensors !== undefined) return safetensors;
  const ggufs = paths.filter((path) => isGgufPath(path) && !/-(?!00001)\d{5}-of-\d{5}\.gguf$/.test(path));
  if (ggufs.length === 1) return ggufs[0] as string;
  const shown = (some: readonly string[]) =>
    `${some.slice(0, 12).join(', ')}${some.length > 12 ? ', ...' : ''}`;
  throw new HubError(
    'no-such-file',
    ggufs.length > 1
      ? `${id}: expected one model, got ${ggufs.length} GGUF files; name one with --file: ${shown(ggufs)}`
      : `${id}: expected model.safetensors or a .gguf file, but it has ${shown(paths)}`,
  );
}

type ReadText = (name: string) => Promise<string | undefined>;

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (problem) {
    if (['ENOENT', 'ENOTDIR'].includes((problem as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw new MinkeError('invalid-file', `cannot read ${path}: ${(problem as Error).message}`, {
      cause: problem,
    });
  }
}

function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MinkeError('invalid-file', `${name}: expected JSON, got ${(cause as Error).message}`, {
      cause,
    });
  }
}

async function configOf(
  readText: ReadText,
  where: string,
): Promise<Pick<InspectedModel, 'config' | 'architecture'>> {
  const text = await readText('config.json');
  if (text === undefined) throw new MinkeError('invalid-file', `expected config.json in ${where}, got none`);
  const json = parseJson(text, `config.json of ${where}`);
  const config = parseConfig(json);
  return { config, architecture: String((json as { model_type?: unknown }).model_type) };
}

/** Tokenizer and template of a folder. On a hub the tokenizer, some megabytes, is not read. */
async function textOf(
  readText: ReadText,
  remote?: RemoteModel,
): Promise<Pick<InspectedModel, 'tokenizer' | 'template'>> {
  const has = async (name: string) =>
    remote ? remote.files.some(({ path }) => path === name) : (await readText(name)) !== undefined;
  const tokenizer = (await has('tokenizer.json')) ? 'tokenizer.json' : null;
  if (await has('chat_template.jinja')) return { tokenizer, template: 'chat_template.jinja' };
  const settings = parseJson((await readText('tokenizer_config.json')) ?? '{}', 'tokenizer_config.json');
  const { chat_template: template } = (settings ?? {}) as { chat_template?: unknown };
  return { tokenizer, template: template ? 'tokenizer_config.json' : null };
}

async function ofGguf(file: GgufFile): Promise<Omit<InspectedModel, 'name' | 'hub'>> {
  const config = await configFromGguf(file);
  return {
    format: 'gguf',
    architecture: String(file.values.get('general.architecture')),
    config,
    tokenizer: tokenizerOfGguf(file),
    template: file.values.has('tokenizer.chat_template') ? 'tokenizer.chat_template' : null,
    ...rowsOf(file.tensors, ''),
    files: file.files,
  };
}

function tokenizerOfGguf({ values }: GgufFile): string | null {
  const model = values.get('tokenizer.ggml.model');
  if (model === undefined) return null;
  const kind = [model, values.get('tokenizer.ggml.pre')].filter((part) => part !== undefined).join(', ');
  try {
    return `${kind}, ${ggufTokenizer(values).vocabSize} tokens`;
  } catch (problem) {
    return `${kind}, not read: ${(problem as Error).message}`;
  }
}

interface HeaderTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly byteLength: number;
  readonly file?: string;
}

function rowsOf(
  tensors: ReadonlyMap<string, HeaderTensor>,
  only: string,
): Pick<InspectedModel, 'tensors' | 'files'> {
  const rows = [...tensors].map(([name, { dtype, shape, byteLength, file = only }]) => ({
    ...{ name, dtype, shape, bytes: byteLength, file },
  }));
  return { tensors: rows, files: [...new Set(rows.map(({ file }) => file))] };
}
