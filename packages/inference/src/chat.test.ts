import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { deepseekTokens } from '@minke/tokenizer-merging/chat';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ChatOptions, chat, complete } from './chat.ts';
import { Engine } from './engine.ts';
import { type LanguageModel, loadLanguageModel } from './language-model.ts';
import { saveLanguageModel } from './save-language-model.ts';
import { testLanguage } from './testing/test-language.ts';

/** Writes over the head so that, with greedy choice, each listed token is followed by the next. */
function speak(language: LanguageModel, reply: readonly number[]): void {
  const { model, tokenizer } = language;
  const { vocabSize, hiddenSize } = model.config;
  const embedding = model.parameters().get('model.embed_tokens.weight')?.readSync() as Float32Array;
  const head = new Float32Array(vocabSize * hiddenSize);
  let previous = tokenizer.encode('\n')[0] as number; // the last token of the prompt
  for (const token of reply) {
    const row = embedding.subarray(previous * hiddenSize, (previous + 1) * hiddenSize);
    const scale = 1 / Math.hypot(...row);
    row.forEach((x, i) => {
      (head[token * hiddenSize + i] as number) += x * scale;
    });
    previous = token;
  }
  model.parameters().get('lm_head.weight')?.write(head);
  // Blocks that add nothing, so the last hidden state is the token's own embedding.
  for (const [name, tensor] of model.parameters())
    if (/(o_proj|down_proj)/.test(name)) tensor.write(new Float32Array(tensor.size));
}

const question = [{ role: 'user' as const, content: 'What is 12 + 34?' }];
interface Said {
  thought: string;
  text: string;
  parts: string[];
  finish: string;
  usage: { promptTokens: number; completionTokens: number; reasoningTokens: number };
}
async function say(engine: Engine, language: LanguageModel, options: ChatOptions = {}): Promise<Said> {
  const said: Partial<Said> = { thought: '', text: '', parts: [] };
  for await (const part of chat(engine, language, question, { temperature: 0, ...options })) {
    said.parts?.push(part.thought ?? part.text);
    if (part.finish !== undefined) Object.assign(said, { finish: part.finish, usage: part.usage });
    else if (part.thought !== undefined) said.thought += part.thought;
    else said.text += part.text;
  }
  return said as Said;
}

describe('chat with a model that speaks a known reply', () => {
  const language = testLanguage({ seed: 4 });
  const { tokenizer } = language;
  const close = tokenizer.tokenToId(deepseekTokens.thinkClose) as number;
  const eos = tokenizer.tokenToId(deepseekTokens.eos) as number;
  // No token twice, and characters of two, three and four bytes.
  const thought = [...tokenizer.encode('héx')];
  const answer = [...tokenizer.encode('46 €😀!')];
  let engine: Engine;
  beforeAll(() => {
    speak(language, [...thought, close, ...answer, eos]);
    engine = new Engine(language.model, { maxSequences: 2 });
  });
  afterAll(() => engine.dispose());

  it('keeps thought and answer apart and counts the tokens of each', async () => {
    const said = await say(engine, language);
    expect(said).toMatchObject({ thought: 'héx', text: '46 €😀!', finish: 'stop' });
    expect(said.usage.reasoningTokens).toBe(thought.length + 1);
    expect(said.usage.completionTokens).toBe(thought.length + answer.length + 2);
  });

  it('never splits a character', async () => {
    const { parts } = await say(engine, language);
    expect(answer.length).toBeGreaterThan(7); // bytes of the characters are tokens of their own
    for (const part of parts) {
      expect(part).not.toContain('\ufffd');
      expect(part).not.toMatch(/\p{Surrogate}/u);
    }
  });

  it('shows U+FFFD only where the length limit cuts a character', async () => {
    const cut = thought.length + 1 + tokenizer.encode('46 ').length + 1;
    const said = await say(engine, language, { maxTokens: cut });
    expect(said).toMatchObject({ text: '46 \ufffd', finish: 'length' });
    expect(said.usage.completionTokens).toBe(cut);
  });

  it('ends at a stop string, which is not shown, and frees its place', async () => {
    const said = await say(engine, language, { stop: ['😀', 'never'] });
    expect(said).toMatchObject({ thought: 'héx', text: '46 €', finish: 'stop' });
    expect(engine.load).toEqual({ running: 0, waiting: 0 });
  });

  it('does not look for stop strings in the thought', async () => {
    expect(await say(engine, language, { stop: ['x'] })).toMatchObject({ thought: 'héx', text: '46 €😀!' });
  });

  it('shows held-back text that turned out to be no stop string', async () => {
    expect((await say(engine, language, { stop: ['!?'] })).text).toBe('46 €😀!');
  });

  it('ends with a length finish inside the thought', async () => {
    expect(await say(engine, language, { maxTokens: 2 })).toMatchObject({ text: '', finish: 'length' });
  });

  it('frees its place when the reader leaves, or the admission callback throws', async () => {
    for await (const _ of chat(engine, language, question)) break;
    const failing = say(engine, language, {
      onAdmitted: () => {
        throw new Error('no reader');
      },
    });
    await expect(failing).rejects.toThrow('no reader');
    expect(engine.load).toEqual({ running: 0, waiting: 0 });
  });

  it('tells the prompt length on admission', async () => {
    let admitted = 0;
    const said = await say(engine, language, { onAdmitted: (count) => (admitted = count) });
    expect(admitted).toBe(said.usage.promptTokens);
    expect(admitted).toBeGreaterThan(5);
  });

  it('completes whole, with the closing tag and without the stop token', async () => {
    const replies = await Promise.all(
      [1, 2, 3].map(() => complete(engine, language, question, { temperature: 0 })),
    );
    const tokens = thought.length + answer.length + 2;
    expect(new Set(replies.map((reply) => JSON.stringify(reply)))).toEqual(
      new Set([JSON.stringify({ text: 'héx</think>46 €😀!', finish: 'stop', tokens })]),
    );
  });

  it('speaks the same after it was saved and loaded', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'minke-language-'));
    try {
      await saveLanguageModel(language, folder, { dtype: 'f32' });
      const loaded = await loadLanguageModel(folder, { backend: createReference() });
      expect(loaded.stopTokenIds).toEqual([eos]);
      expect(loaded.sampling).toEqual(language.sampling);
      const other = new Engine(loaded.model, { maxSequences: 1 });
      expect(await say(other, loaded)).toEqual(await say(engine, language));
      await other.dispose();
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('loadLanguageModel', () => {
  it('names the file that is missing or wrong', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'minke-language-'));
    const load = async (): Promise<string> => {
      const problem = await loadLanguageModel(folder, { backend: createReference() }).catch(
        (e: unknown) => e,
      );
      if (!MinkeError.isInstance(problem)) throw new Error('expected a MinkeError');
      return `${problem.code} ${problem.message}`;
    };
    try {
      expect(await load()).toMatch(/^invalid-file .*tokenizer\.json/);
      await saveLanguageModel(testLanguage(), folder);
      for (const [name, text, expected] of [
        ['generation_config.json', '{', 'generation_config.json'],
        ['generation_config.json', '[]', 'generation_config.json'],
        ['generation_config.json', '{"eos_token_id": 9999}', 'eos_token_id'],
        ['generation_config.json', '{"eos_token_id": "1"}', 'eos_token_id'],
        ['generation_config.json', '{"do_sample": true, "top_p": 0}', 'topP'],
        ['tokenizer_config.json', '{"chat_template": 5}', 'chat_template'],
        ['tokenizer_config.json', '{"chat_template": "{% if %}"}', 'template'],
        ['tokenizer.json', 'version https://git-lfs.github.com/spec/v1', 'LFS'],
        ['config.json', '{}', 'model_type'],
      ] as const) {
        await saveLanguageModel(testLanguage(), folder);
        await writeFile(join(folder, name), text);
        expect(await load()).toContain(expected);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
