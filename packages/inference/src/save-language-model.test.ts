import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSafetensors } from '@minke/checkpoints';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { type ChatMessage, encodeChat } from '@minke/tokenizer-merging/chat';
import { afterAll, expect, it } from 'vitest';
import { Engine } from './engine.ts';
import { type LanguageModel, loadLanguageModel } from './language-model.ts';
import { saveLanguageModel } from './save-language-model.ts';
import { tinyPath } from './testing/gguf-model.ts';
import { testLanguage } from './testing/test-language.ts';

const root = mkdtempSync(join(tmpdir(), 'minke-export-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const texts = ['What is 12 + 34?', 'hello, 1234 größe 重み 🐋\n\n  x\t', '<|im_end|><｜User｜> hel', ''];
const chats: ChatMessage[][] = [
  [{ role: 'user', content: 'hello' }],
  [
    { role: 'user', content: 'What is 1 + 1?' },
    { role: 'assistant', content: '2' },
    { role: 'user', content: 'And 2 + 2?' },
  ],
];
const languages: [string, () => Promise<LanguageModel>][] = [
  ['of the DeepSeek family', async () => testLanguage()],
  ['from a GGUF file', () => loadLanguageModel(tinyPath, { backend: createReference() })],
];

it('what is saved has the fields that libraries look for', async () => {
  const folder = join(root, 'fields');
  const language = testLanguage();
  await saveLanguageModel(language, folder);
  const json = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as object;
  expect(json('tokenizer_config.json')).toMatchObject({
    bos_token: '<｜begin▁of▁sentence｜>',
    eos_token: '<｜end▁of▁sentence｜>',
    pad_token: language.tokenizer.idToToken(2),
    model_max_length: 160,
  });
  expect(json('generation_config.json')).toMatchObject({ eos_token_id: [1], do_sample: true });
});

it.each(languages)(
  'a model %s is the same in transformers: logits, ids, texts and answers',
  async (name, make) => {
    const language = await make();
    const folder = join(root, name.replaceAll(' ', '-'));
    await saveLanguageModel(language, folder, { dtype: 'f32' });
    const { model, tokenizer, template } = language;
    const prompt = [...encodeChat(tokenizer, template, chats[0]!).ids];
    using arena = new Arena(model.backend);
    const { logits } = model.forward(model.batch(arena, [prompt]));
    await writeSafetensors(join(folder, 'expected.safetensors'), {
      input_ids: { dtype: 'I32', shape: [1, prompt.length], data: Int32Array.from(prompt) },
      logits: { dtype: 'F32', shape: [1, prompt.length, model.config.vocabSize], data: logits.readSync() },
    });
    const expected = {
      texts: texts.map((text) => ({ text, ids: [...tokenizer.encode(text, { allowSpecial: true })] })),
      chats: chats.map((messages) => ({ messages, text: template.render(messages) })),
      generated: { prompt, ids: await greedy(language, prompt) },
    };
    writeFileSync(join(folder, 'expected.json'), JSON.stringify(expected));
    if (!hasTransformers()) return;
    const script = fileURLToPath(new URL('../../../tools/parity/check_export.py', import.meta.url));
    const result = JSON.parse(execFileSync('python3', [script, folder], { encoding: 'utf8' })) as object;
    expect(result).toMatchObject({ passed: true, unexpectedKeys: [] });
  },
);

async function greedy(language: LanguageModel, prompt: readonly number[]): Promise<number[]> {
  const engine = new Engine(language.model, { maxSequences: 1, contextLength: 128 });
  const ids: number[] = [];
  const sampling = { ...language.sampling, temperature: 0 };
  const request = {
    promptIds: prompt,
    maxNewTokens: 24,
    seed: 0,
    stopTokenIds: language.stopTokenIds,
    sampling,
  };
  for await (const { token } of engine.generate(request)) ids.push(token);
  await engine.dispose();
  return ids;
}

/** Whether Python has transformers; says so when not, and fails in CI. */
function hasTransformers(): boolean {
  const code = 'from importlib.util import find_spec as f; exit(not (f("torch") and f("transformers")))';
  try {
    execFileSync('python3', ['-c', code], { stdio: 'ignore' });
    return true;
  } catch {
    const needed = 'Python with tools/parity/requirements.txt (torch, transformers)';
    if (process.env.CI) throw new Error(`CI must have ${needed}, and it has not`);
    console.warn(`NOT RUN: exports are checked in transformers only where there is ${needed}`);
    return false;
  }
}
