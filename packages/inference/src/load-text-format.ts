/**
 * The tokenizer, chat template and generation defaults of a model's folder in Hugging Face's layout, or of a GGUF file.
 *
 * The template is `chat_template.jinja`, else `chat_template` of tokenizer_config.json, else DeepSeek-R1's. End
 * tokens come from generation_config.json, else config.json, else `eos_token` of tokenizer_config.json.
 */
import { join } from 'node:path';
import { readText as readTextOf } from '@minke/checkpoints/files';
import { MinkeError } from '@minke/core';
import { ChatTemplate, deepseekR1Template, deepseekTokens } from '@minke/tokenizer-merging/chat';
import { Tokenizer } from '@minke/tokenizer-merging/tokenizer';
import { isGgufPath } from '@minke/transformer';
import { ggufTextFormat } from './gguf-text-format.ts';
import { defaultSampling, type SamplingParams, validateSampling } from './sampling.ts';
import type { TextFormat } from './text-format.ts';

/**
 * Everything of a language model's folder or GGUF file except the weights; in a folder they need not be there. Throws
 * `invalid-file` naming the file.
 */
export async function loadTextFormat(folder: string): Promise<TextFormat> {
  if (isGgufPath(folder)) return ggufTextFormat(folder);
  const text = await readText(folder, 'tokenizer.json');
  if (text === undefined) {
    throw new MinkeError(
      'invalid-file',
      `loadLanguageModel: expected tokenizer.json in ${folder}, got none; a model folder has config.json, *.safetensors and tokenizer.json`,
    );
  }
  const tokenizer = Tokenizer.parse(text);
  const tokenizerConfig = await readJson(folder, 'tokenizer_config.json');
  const generation = await readJson(folder, 'generation_config.json');
  const config = await readJson(folder, 'config.json');
  return {
    tokenizer,
    template: await readTemplate(folder, tokenizerConfig),
    stopTokenIds: stopIds(tokenizer, { generation, config, tokenizerConfig }),
    sampling: samplingOf(generation),
  };
}

type Json = Readonly<Record<string, unknown>>;

/** Largest file read beside the weights: vocabularies of 256,000 tokens take some 30 MB. */
const maxTextBytes = 1 << 27;

async function readText(folder: string, name: string): Promise<string | undefined> {
  try {
    return await readTextOf(join(folder, name), maxTextBytes);
  } catch (cause) {
    if (((cause as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return undefined;
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
  tokenizer: Tokenizer,
  { generation, config, tokenizerConfig }: { generation: Json; config: Json; tokenizerConfig: Json },
): readonly number[] {
  for (const [name, json] of Object.entries({
    'generation_config.json': generation,
    'config.json': config,
  })) {
    const stated = json.eos_token_id ?? [];
    const ids = [stated].flat() as number[];
    const wrong: unknown = ids.find((id) => !Number.isSafeInteger(id) || id < 0);
    if (wrong !== undefined) {
      throw new MinkeError(
        'invalid-file',
        `${name}: expected eos_token_id to be an id or a list of them, got ${wrong instanceof Object ? 'a list or an object' : String(wrong).slice(0, 60)}`,
      );
    }
    if (ids.length > 0) return ids;
  }
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
