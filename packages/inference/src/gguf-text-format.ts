/**
 * How conversations become token ids and back, from the metadata of a GGUF file: its tokenizer, chat template and end
 * tokens (of the sequence and of a turn). It has no sampling settings, so the defaults hold.
 */
import { type GgufFile, openGguf } from '@minke/checkpoints';
import { MinkeError } from '@minke/core';
import { ChatTemplate, deepseekR1Template } from '@minke/tokenizer-merging/chat';
import { ggufTokenizer } from '@minke/tokenizer-merging/tokenizer';
import { defaultSampling } from './sampling.ts';
import type { TextFormat } from './text-format.ts';

/** Throws `invalid-file` or `unsupported`, as `openGguf` and `ggufTokenizer` do. */
export async function ggufTextFormat(path: string): Promise<TextFormat> {
  const file = await openGguf(path);
  try {
    const tokenizer = ggufTokenizer(file.values);
    const tokenOf = (name: string): number | undefined => {
      const id = file.values.get(`tokenizer.ggml.${name}_token_id`);
      if (id === undefined) return undefined;
      if (typeof id !== 'number' || tokenizer.idToToken(id) === undefined)
        throw broken(path, `expected tokenizer.ggml.${name}_token_id to be a token, got ${id}`);
      return id;
    };
    const stops = [tokenOf('eos'), tokenOf('eot')].filter((id) => id !== undefined);
    if (stops.length === 0)
      throw broken(path, 'expected an end token, tokenizer.ggml.eos_token_id, got none');
    const textOf = (name: string) => tokenizer.idToToken(tokenOf(name) ?? -1) ?? '';
    return {
      tokenizer,
      template: templateOf(file, path, { bosToken: textOf('bos'), eosToken: textOf('eos') }),
      stopTokenIds: [...new Set(stops)],
      sampling: defaultSampling,
    };
  } finally {
    await file.close();
  }
}

function templateOf(
  file: GgufFile,
  path: string,
  tokens: { readonly bosToken: string; readonly eosToken: string },
): ChatTemplate {
  const source = file.values.get('tokenizer.chat_template');
  if (source === undefined) return deepseekR1Template;
  if (typeof source !== 'string') throw broken(path, 'expected tokenizer.chat_template to be a string');
  return new ChatTemplate(source, tokens);
}

const broken = (path: string, problem: string) =>
  new MinkeError('invalid-file', `loadLanguageModel: ${path}: ${problem}`);
