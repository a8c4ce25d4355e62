/**
 * A model as a person has it: weights, tokenizer, chat template and generation defaults from one folder in
 * Hugging Face's layout.
 *
 * The template is `chat_template.jinja`, else `chat_template` of tokenizer_config.json, else DeepSeek-R1's. End
 * tokens come from generation_config.json, else config.json, else `eos_token` of tokenizer_config.json.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Backend, MinkeError } from '@minke/core';
import { ChatTemplate, deepseekR1Template, deepseekTokens } from '@minke/tokenizer-merging/chat';
import { Tokenizer } from '@minke/tokenizer-merging/tokenizer';
import { type DeepSeekModel, type LoadOptions, loadModel } from '@minke/transformer';
import { defaultSampling, type SamplingParams, validateSampling } from './sampling.ts';

export interface LanguageModel {
  readonly model: DeepSeekModel;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
  /** Ids that end an answer. */
  readonly stopTokenIds: readonly number[];
  /** Defaults from generation_config.json. */
  readonly sampling: SamplingParams;
}

/** How `loadLanguageModel` reads. */
export interface LoadLanguageModelOptions {
  readonly backend: Backend;
  /** Called after each parameter, counted in numbers of the model. */
  readonly onProgress?: LoadOptions['onProgress'];
}

/**
 * Loads a folder with config.json, safetensors and tokenizer.json, and where present tokenizer_config.json,
 * chat_template.jinja and generation_config.json. Throws `invalid-file`, `invalid-config` or `unsupported`, naming
 * the file.
 *
 * @example
 * const language = await loadLanguageModel('model', { backend });
 */
export async function loadLanguageModel(
  folder: string,
  options: LoadLanguageModelOptions,
): Promise<LanguageModel> {
  const tokenizerText = await readText(folder, 'tokenizer.json');
  if (tokenizerText === undefined) {
    throw new MinkeError(
      'invalid-file',
      `loadLanguageModel: expected tokenizer.json in ${folder}, got none; a model folder has config.json, *.safetensors and tokenizer.json`,
    );
  }
  const tokenizer = Tokenizer.parse(tokenizerText);
  const tokenizerConfig = await readJson(folder, 'tokenizer_config.json');
  const generation = await readJson(folder, 'generation_config.json');
  const template = await readTemplate(folder, tokenizerConfig);
  const { backend, onProgress } = options;
  const model = await loadModel(folder, { backend, ...(onProgress && { onProgress }) });
  const { vocabSize } = model.config;
  if (tokenizer.vocabSize > vocabSize) {
    throw new MinkeError(
      'invalid-file',
      `loadLanguageModel: expected a tokenizer of at most ${vocabSize} tokens (the model's vocabulary), got ${tokenizer.vocabSize}; they belong to different models`,
    );
  }
  const stopTokenIds = stopIds(generation, model, tokenizer, tokenizerConfig);
  return { model, tokenizer, template, stopTokenIds, sampling: samplingOf(generation) };
}

type Json = Readonly<Record<string, unknown>>;

async function readText(folder: string, name: string): Promise<string | undefined> {
  try {
    return await readFile(join(folder, name), 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new MinkeError(
      'invalid-file',
      `loadLanguageModel: cannot read ${name} in ${folder}: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** A JSON object; an empty one where the file is missing. */
async function readJson(folder: string, name: string): Promise<Json> {
  const text = (await readText(folder, name)) ?? '{}';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MinkeError('invalid-file', `${name}: expected JSON, got ${(cause as Error).message}`, {
      cause,
    });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new MinkeError('invalid-file', `${name}: expected a JSON object`);
  }
  return value as Json;
}

async function readTemplate(folder: string, tokenizerConfig: Json): Promise<ChatTemplate> {
  const source = (await readText(folder, 'chat_template.jinja')) ?? tokenizerConfig.chat_template;
  if (source === undefined || source === null) return deepseekR1Template;
  // transformers also writes a list of named templates.
  const named: unknown = Array.isArray(source)
    ? source.find((entry: Json | null) => entry?.name === 'default')?.template
    : source;
  if (typeof named !== 'string') {
    throw new MinkeError(
      'invalid-file',
      'tokenizer_config.json: expected chat_template to be a string or a list with one named default',
    );
  }
  return new ChatTemplate(named, {
    bosToken: tokenText(tokenizerConfig.bos_token),
    eosToken: tokenText(tokenizerConfig.eos_token),
  });
}

function stopIds(
  generation: Json,
  model: DeepSeekModel,
  tokenizer: Tokenizer,
  tokenizerConfig: Json,
): readonly number[] {
  const { vocabSize, eosTokenIds } = model.config;
  const stated = [generation.eos_token_id ?? []].flat();
  const ids = stated.filter(
    (id): id is number => Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < vocabSize,
  );
  if (ids.length < stated.length) {
    throw new MinkeError(
      'invalid-file',
      `generation_config.json: expected eos_token_id from 0 to ${vocabSize - 1}, got ${JSON.stringify(generation.eos_token_id)}`,
    );
  }
  if (ids.length > 0) return ids;
  if (eosTokenIds.length > 0) return eosTokenIds;
  const id = tokenizer.tokenToId(tokenText(tokenizerConfig.eos_token) || deepseekTokens.eos);
  if (id === undefined) {
    throw new MinkeError(
      'invalid-file',
      'loadLanguageModel: expected an end token: eos_token_id in generation_config.json or config.json, or eos_token in tokenizer_config.json',
    );
  }
  return [id];
}

/** A token named by its text, or by an object with `content`; empty where there is none. */
function tokenText(token: unknown): string {
  const text = typeof token === 'object' && token !== null ? (token as Json).content : token;
  return typeof text === 'string' ? text : '';
}

function samplingOf(generation: Json): SamplingParams {
  const stated = (name: string, otherwise: number) => (generation[name] ?? otherwise) as number;
  const sampling = {
    temperature: generation.do_sample === false ? 0 : stated('temperature', defaultSampling.temperature),
    topP: stated('top_p', defaultSampling.topP),
    topK: stated('top_k', defaultSampling.topK),
    minP: stated('min_p', defaultSampling.minP),
  };
  try {
    return validateSampling(sampling);
  } catch (cause) {
    throw new MinkeError('invalid-file', `generation_config.json: ${(cause as Error).message}`, { cause });
  }
}
