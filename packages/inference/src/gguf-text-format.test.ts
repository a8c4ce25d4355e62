import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createReference } from '@minke/gpu-backends/reference';
import { describe, expect, it } from 'vitest';
import { chat } from './chat.ts';
import { Engine } from './engine.ts';
import { ggufTextFormat } from './gguf-text-format.ts';
import { type LanguageModel, loadLanguageModel } from './language-model.ts';
import { saveLanguageModel } from './save-language-model.ts';

// Written by tools/parity/gguf_language.py.
const path = fileURLToPath(new URL('../fixtures/tiny.gguf', import.meta.url));
const backend = createReference();

async function answerOf(language: LanguageModel): Promise<string> {
  const engine = new Engine(language.model, { maxSequences: 1, contextLength: 128 });
  let text = '';
  const messages = [{ role: 'user', content: 'hello <|im_end|>' } as const];
  for await (const part of chat(engine, language, messages, { temperature: 0, maxTokens: 12 }))
    text += part.thought ?? part.text;
  await engine.dispose();
  return text;
}

describe('a language model in a GGUF file', () => {
  it('has its tokenizer, template and end tokens, and answers', async () => {
    const language = await loadLanguageModel(path, { backend });
    const { tokenizer, template, stopTokenIds, model } = language;
    expect(model.config).toMatchObject({ modelType: 'llama', numKeyValueHeads: 2, tieEmbeddings: true });
    expect(stopTokenIds).toEqual([259]);
    expect(template.render([{ role: 'user', content: 'hi' }])).toBe(
      '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n',
    );
    expect([...tokenizer.encode('hel<|im_end|>', { allowSpecial: true })]).toEqual([257, 259]);
    expect((await answerOf(language)).length).toBeGreaterThan(0);
  });

  it('answers the same from a folder in the layout of Hugging Face', async () => {
    const language = await loadLanguageModel(path, { backend });
    const folder = mkdtempSync(join(tmpdir(), 'minke-gguf-'));
    await saveLanguageModel(language, folder, { dtype: 'f32' });
    const again = await loadLanguageModel(folder, { backend });
    expect(again.stopTokenIds).toEqual(language.stopTokenIds);
    expect(await answerOf(again)).toBe(await answerOf(language));
    rmSync(folder, { recursive: true });
  });

  it.each([
    [
      'an end token that is none',
      'tokenizer.ggml.eos_token_id',
      4,
      [44, 1, 0, 0],
      /eos_token_id to be a token, got 300/,
    ],
    [
      'an end token that is only padding',
      'tokenizer.ggml.eos_token_id',
      4,
      [4, 1, 0, 0],
      /eos_token_id to be a token, got 260/,
    ],
    ['another pre-tokenizer', 'tokenizer.ggml.pre', 12, [...Buffer.from('xmollm')], /got xmollm/],
  ] as const)('refuses %s', async (_, key, skip, bytes, message) => {
    const folder = mkdtempSync(join(tmpdir(), 'minke-gguf-'));
    const file = new Uint8Array(readFileSync(path));
    const at = Buffer.from(file.buffer).indexOf(key) + key.length + skip;
    file.set(bytes, at);
    const changed = join(folder, 'changed.gguf');
    writeFileSync(changed, file);
    await expect(ggufTextFormat(changed)).rejects.toThrow(message);
    rmSync(folder, { recursive: true });
  });
});
