import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadTextFormat } from '@minke/inference';
import { type Problem, TaskStream, verify } from '@minke/reasoning-tasks';
import {
  defaultRejection,
  EndpointTextSampler,
  readKept,
  rejectionSample,
  unfinished,
} from '@minke/rl-trainer';
import { modelFolder } from '@minke/tiny-reasoner';
import { encodeChat } from '@minke/tokenizer-merging/chat';
import { afterAll, beforeAll, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../dist/main.js', import.meta.url));
let root: string;
let server: ChildProcess;
let baseURL: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'minke-endpoint-'));
  server = spawn(process.execPath, [program, 'serve', '--port', '0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  baseURL = await new Promise<string>((resolve, reject) => {
    let errors = '';
    server.stderr?.on('data', (text) => {
      errors += text;
    });
    server.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const found = /listening on (http:\S+)/.exec(text);
      if (found) resolve(`${found[1]}/v1`);
    });
    server.once('exit', (code) => reject(new Error(`minke serve ended with code ${code}: ${errors}`)));
  });
});
afterAll(() => {
  server.removeAllListeners('exit');
  server.kill();
  rmSync(root, { recursive: true, force: true });
});

it('rejection sampling from our own server keeps what is right, as ids of the tokenizer', async () => {
  const { tokenizer, template, stopTokenIds } = await loadTextFormat(modelFolder);
  const tasks = new TaskStream({ seed: 5, weights: { chain_sum: 1 }, levels: [1, 0, 0] });
  const problems = Array.from({ length: 6 }, () => tasks.next());
  const prompts = problems.map((problem, i) => ({
    ...{ id: String(i), kind: problem.family, text: problem.prompt, task: { problem } },
    tokens: [...encodeChat(tokenizer, template, [{ role: 'user', content: problem.prompt }]).ids],
  }));
  const models = (await (await fetch(`${baseURL}/models`)).json()) as { data: { id: string }[] };
  const sampler = new EndpointTextSampler({
    ...{ baseURL, model: models.data[0]?.id as string, prompts },
    encode: (text) => tokenizer.encode(text, { allowSpecial: true }),
  });
  const config = {
    ...defaultRejection,
    samplesPerPrompt: 2,
    promptsPerBatch: 3,
    maxNewTokens: 200,
    temperature: 0.5,
  };
  const decode = (tokens: readonly number[]) => tokenizer.decode([...tokens]);
  const summary = await rejectionSample({
    ...{ sampler, prompts, config, stopTokenIds, decode, folder: root },
    filters: [
      unfinished,
      ({ text, prompt }) => (verify(prompt.task.problem as Problem, text).score === 1 ? null : 'wrong'),
    ],
  });
  expect(summary).toMatchObject({ batch: 2, sampled: 12 });
  expect(summary.kept).toBeGreaterThan(0);
  const kept = await readKept(join(root, 'kept.jsonl'));
  expect(kept).toHaveLength(summary.kept);
});
