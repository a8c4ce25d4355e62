/** Commands of the built program on a GGUF file: what they say of it is what they say of the same model in a folder. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createReference } from '@minke/gpu-backends/reference';
import { loadLanguageModel, saveLanguageModel } from '@minke/inference';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectBuilt, runMinke } from './testing/run-minke.ts';

// A llama of 261 tokens in Q8_0, written by tools/parity/gguf_language.py.
const file = fileURLToPath(new URL('../../../packages/inference/fixtures/tiny.gguf', import.meta.url));
const question = 'hello <|im_end|>';
let root: string;
/** The same model, its weights as float32. */
let folder: string;
/** Of a hub's cache: a snapshot that holds the file alone, as a link to its blob. */
let snapshot: string;

const program = fileURLToPath(new URL('../dist/main.js', import.meta.url));

/** `minke serve` on a free port. */
async function startServer(from: string): Promise<{ url: string; stop(): Promise<number | null> }> {
  const child = spawn(process.execPath, [program, 'serve', from, '--port', '0']);
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let errors = '';
  child.stderr.on('data', (text) => {
    errors += text;
  });
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const found = /listening on (http:\S+)/.exec(text);
      if (found) resolve(found[1] as string);
    });
    ended.then((code) => reject(new Error(`minke serve ended with code ${code}: ${errors}`)));
  });
  return {
    url,
    stop: () => {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

const minke = (args: readonly string[]) => runMinke(args, { cwd: root });
beforeAll(async () => {
  expectBuilt();
  root = mkdtempSync(join(tmpdir(), 'minke-gguf-cli-'));
  folder = join(root, 'folder');
  snapshot = join(root, 'models--someone--tiny', 'snapshots', '5'.repeat(40));
  const language = await loadLanguageModel(file, { backend: createReference() });
  await saveLanguageModel(language, folder, { dtype: 'f32' });
  mkdirSync(snapshot, { recursive: true });
  symlinkSync(file, join(snapshot, 'tiny.Q8_0.gguf'));
});
afterAll(() => rmSync(root, { recursive: true }));

it('gives the logits of its weights, from the file and from a folder that holds it alone', async () => {
  const logits = async (from: string) => {
    const { code, out, err } = await minke(['logits', from, '--ids', '258,7,257,3', '--json']);
    expect([code, err]).toEqual([0, '']);
    return (JSON.parse(out) as { logits: number[][] }).logits;
  };
  const expected = await logits(folder);
  expect(expected.map((row) => row.length)).toEqual(Array(4).fill(261));
  expect(await logits(file)).toEqual(expected);
  expect(await logits(snapshot)).toEqual(expected);
});

it('chats with the tokenizer, the template and the end tokens of the file', async () => {
  const chat = async (from: string) => {
    const options = ['--temperature', '0', '--max-tokens', '12', '--json'];
    const { code, out, err } = await minke(['chat', from, '-m', question, ...options]);
    expect([code, err]).toEqual([0, '']);
    return JSON.parse(out);
  };
  const expected = await chat(folder);
  expect(expected.usage.promptTokens).toBeGreaterThan(20);
  expect(await chat(file)).toEqual(expected);
  expect(await chat(snapshot)).toEqual(expected);
});

it('is served under its own name, with the same answers', async () => {
  const ask = async (url: string, model: string) => {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model,
        messages: [{ role: 'user', content: question }],
        temperature: 0,
        max_tokens: 12,
      }),
    });
    expect(response.status).toBe(200);
    const { choices, usage } = (await response.json()) as { choices: unknown; usage: unknown };
    return { choices, usage };
  };
  const answers = [];
  for (const [from, id] of [
    [snapshot, 'tiny.Q8_0'],
    [folder, 'folder'],
  ] as const) {
    const server = await startServer(from);
    const { data } = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: { id: string }[] };
    expect(data.map((model) => model.id)).toContain(id);
    answers.push(await ask(server.url, id));
    expect(await server.stop()).toBe(0);
  }
  expect(answers[0]).toEqual(answers[1]);
});

it('is one of several only where it is named', async () => {
  const several = join(root, 'several');
  mkdirSync(several);
  for (const name of ['a.gguf', 'b.gguf']) symlinkSync(file, join(several, name));
  const { code, err } = await minke(['chat', several, '-m', 'x']);
  expect(code).toBe(2);
  expect(err).toMatch(
    /^error: expected one model in .*, got 2 GGUF files; name one of them: .*a\.gguf, .*b\.gguf\n$/,
  );
});
