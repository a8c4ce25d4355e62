/** `minke pull` of the built command, and commands on what it fetched. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { StandInHub } from '@minke/checkpoints/hub/testing';
import { modelFolder } from '@minke/tiny-reasoner';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { expectBuilt, type RunOptions, runMinke } from './testing/run-minke.ts';

const id = 'someone/tiny';
let hub: StandInHub;
let home: string;
beforeAll(async () => {
  expectBuilt();
  hub = await StandInHub.start();
});
afterAll(() => hub.close());
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'minke-pull-'));
  hub.fault = () => undefined;
});
afterEach(() => rm(home, { recursive: true }));

const environment = (more: object = {}) => ({
  ...{ HF_ENDPOINT: hub.endpoint, HF_HOME: home, HF_TOKEN: '', HF_HUB_CACHE: '', HF_HUB_OFFLINE: '' },
  ...more,
});
const minke = (args: readonly string[], options: Partial<RunOptions> = {}) =>
  runMinke(args, { cwd: home, ...options, env: environment(options.env) });

/** The embedded model, as someone would publish it. */
function publish(): string {
  const names = readdirSync(modelFolder).filter((name) => statSync(join(modelFolder, name)).isFile());
  const files = names.map((name) => [name, readFileSync(join(modelFolder, name))]);
  return hub.add(id, { files: Object.fromEntries(files) });
}
const blobs = () => join(home, 'hub', 'models--someone--tiny', 'blobs');
const unfinished = () => readdirSync(blobs()).filter((name) => name.endsWith('.incomplete'));

it('fetches a model, prints its folder, and then chat and logits take its id', async () => {
  const commit = publish();
  const before = await minke(['chat', id, '-m', 'What is 348 + 977?']);
  expect(before.code).toBe(2);
  expect(before.err).toMatch(/^error: .* fetch it with: minke pull someone\/tiny\n$/);

  const folder = join(home, 'hub', 'models--someone--tiny', 'snapshots', commit);
  const { code, out, err } = await minke(['pull', id]);
  expect([code, out]).toEqual([0, `${folder}\n`]);
  expect(err).toMatch(/\[[#-]{24}\] \d+ % {2}\d/);
  const again = await minke(['pull', `${id}@${commit}`, '--json']);
  expect(JSON.parse(again.out)).toMatchObject({ id, revision: commit, commit, folder, received: 0 });

  const chat = await minke(['chat', id, '-m', 'What is 348 + 977?', '--temperature', '0', '--json']);
  expect(chat.code, chat.err).toBe(0);
  expect(JSON.parse(chat.out)).toMatchObject({ answer: 'The answer is 1325.' });
  const ids = ['--ids', '5,9', '--json'];
  const logits = await minke(['logits', `${id}@main`, ...ids]);
  expect(logits.out).toBe((await minke(['logits', modelFolder, ...ids])).out);
});

it('fetches only what patterns name', async () => {
  publish();
  const { out } = await minke(['pull', id, '--json', '--include', '*.json', 'README*']);
  const { files } = JSON.parse(out);
  expect(files).toContain('config.json');
  expect(files).not.toContain('model.safetensors');
  const none = await minke(['pull', id, '--include', '*.gguf']);
  expect(none.code).toBe(1);
  expect(none.err).toMatch(/^minke: someone\/tiny: expected files that match \*\.gguf, but it has .*\n$/);
});

it.each([
  ['a model that is not there', ['nobody/nothing'], 1, /no such model/],
  ['an id that is none', ['nothing'], 2, /expected owner\/name/],
  ['a revision that is not there', [`${id}@v9`], 1, /no such branch, tag or commit/],
])('says what is wrong with %s', async (_, args, code, expected) => {
  publish();
  const run = await minke(['pull', ...args]);
  expect([run.code, run.out]).toEqual([code, '']);
  expect(run.err).toMatch(expected);
});

it('says that a model is gated, and takes the token', async () => {
  hub.add(id, { files: { 'config.json': Buffer.from('{}') }, gated: true, token: 'hf_right' });
  expect((await minke(['pull', id], { env: { HF_TOKEN: 'hf_wrong' } })).err).toContain('no such model');
  hub.add(id, { files: { 'config.json': Buffer.from('{}') }, gated: true });
  const refused = await minke(['pull', id]);
  expect([refused.code, refused.err]).toEqual([1, expect.stringMatching(/terms .* HF_TOKEN/)]);
  expect((await minke(['pull', id], { env: { HF_TOKEN: 'hf_right' } })).code).toBe(0);
});

it('keeps what came on Ctrl-C, and the same command goes on', async () => {
  publish();
  hub.fault = ({ kind }) => (kind === 'store' ? { kind: 'slow', ms: 3000 } : undefined);
  const stopped = await minke(['pull', id], {
    interruptWhen: () => {
      try {
        return unfinished().some((name) => statSync(join(blobs(), name)).size > 100_000);
      } catch {
        return false;
      }
    },
  });
  expect(stopped.code).toBe(130);
  expect(stopped.err).toMatch(/the same command goes on: minke pull someone\/tiny\n$/);
  expect(unfinished()).not.toEqual([]);
  hub.fault = () => undefined;
  const { out } = await minke(['pull', id, '--json']);
  const { bytes, received } = JSON.parse(out);
  expect(received).toBeLessThan(bytes - 100_000);
  expect(unfinished()).toEqual([]);
});

it('shares the work with another process, and takes over from one that was killed', async () => {
  publish();
  hub.fault = ({ kind }) => (kind === 'store' ? { kind: 'slow', ms: 500 } : undefined);
  const program = join(import.meta.dirname, '..', 'dist', 'main.js');
  const killed = promisify(execFile)(process.execPath, [program, 'pull', id], {
    env: { ...process.env, ...environment() },
    timeout: 60_000,
  });
  const gone = expect(killed).rejects.toMatchObject({ signal: 'SIGKILL' });
  const started = async () => {
    for (;;)
      try {
        if (unfinished().length > 0) return;
        throw new Error('not yet');
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
  };
  await started();
  const others = [minke(['pull', id, '--json']), minke(['pull', id, '--json'])];
  killed.child.kill('SIGKILL');
  await gone;
  for (const { code, out, err } of await Promise.all(others)) {
    expect(code, err).toBe(0);
    const { folder } = JSON.parse(out);
    const weights = readFileSync(join(folder, 'model.safetensors'));
    expect(weights.equals(readFileSync(join(modelFolder, 'model.safetensors')))).toBe(true);
  }
  expect(unfinished()).toEqual([]);
});
