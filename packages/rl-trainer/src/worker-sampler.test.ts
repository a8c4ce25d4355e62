import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { saveModel } from '@minke/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ExportingLearner, WorkerSampler } from './index.ts';
import { bandit } from './testing/bandit.ts';

const native = nativeAvailable().available;
const backend = await (native ? createNative({ threads: 1 }) : createWasm());
const sizes = { contextLength: 16, maxSequences: 64, threads: 1 };
const request = {
  ...{ prompts: [[1, 4, 5], [1, 3], [7]], samplesPerPrompt: 4, maxNewTokens: 24, temperature: 1 },
  ...{ topP: 1, topK: 0, stopTokenIds: [0], seed: 7 },
};
let root: string;
beforeAll(() => {
  const built = fileURLToPath(new URL('../dist/sampler-worker.js', import.meta.url));
  if (!existsSync(built))
    throw new Error(`expected the built thread at ${built}; run npm test, which builds it`);
  root = mkdtempSync(join(tmpdir(), 'minke-worker-'));
});
afterAll(() => {
  backend.dispose();
  rmSync(root, { recursive: true, force: true });
});

async function exported() {
  const parts = await bandit(backend);
  const write = (to: string) => saveModel(parts.model, to, { dtype: 'f32' });
  const folder = mkdtempSync(join(root, 'weights-'));
  return { ...parts, folder, learner: new ExportingLearner(parts.learner, { folder, write, keep: 2 }) };
}

describe('WorkerSampler', () => {
  it('gives the samples of a sampler on the very model, bit for bit, of every version', async () => {
    const { learner, sampler } = await exported();
    const thread = new WorkerSampler({ ...sizes, backend: native ? 'native' : 'wasm' });
    for (let version = 0; version < 3; version++) {
      const policy = await learner.exportForSampler();
      expect(policy.version).toBe(version);
      await sampler.update({ version, location: null });
      await thread.update(policy);
      const samples = await thread.sample({ ...request, seed: version });
      expect(samples).toEqual(await sampler.sample({ ...request, seed: version }));
      expect(samples[0]?.policyVersion).toBe(version);
      const sequences = [{ tokens: [1, 2, 3], completionStart: 1 }];
      await learner.forwardBackward(sequences, { name: 'cross_entropy' }, { sequences: 1, tokens: 2 });
      await learner.optimStep({ learningRate: 1e-2 });
    }
    await thread.dispose();
    await expect(thread.sample(request)).rejects.toMatchObject({ code: 'aborted' });
  });

  it('may read a policy while nothing but a critic learns: its folder stays', async () => {
    const { learner, folder } = await exported();
    const first = await learner.exportForSampler();
    const path = join(folder, 'v0000000', 'config.json');
    const { ino } = statSync(path);
    expect(await learner.exportForSampler()).toEqual(first);
    expect(statSync(path).ino).toBe(ino);
    await learner.saveState(join(folder, 'state'));
    await learner.loadState(join(folder, 'state'));
    expect(await learner.exportForSampler()).toEqual(first);
    expect(statSync(path).ino).not.toBe(ino);
  });

  it('says what is wrong, and goes on', async () => {
    const { learner, folder } = await exported();
    const thread = new WorkerSampler(sizes);
    await expect(thread.sample(request)).rejects.toThrow(/call update\(\) first/);
    await expect(thread.update({ version: 0, location: null })).rejects.toThrow(/ExportingLearner/);
    const lost = { version: 0, location: join(folder, 'nowhere') };
    await expect(thread.update(lost)).rejects.toMatchObject({ code: 'invalid-file' });
    await thread.update(await learner.exportForSampler());
    await expect(thread.sample({ ...request, prompts: [[99]] })).rejects.toThrow(/prompt ids from 0 to 23/);
    const stop = new AbortController();
    const cancelled = thread.sample({ ...request, stopTokenIds: [] }, stop.signal);
    stop.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 'aborted' });
    expect(await thread.sample(request)).toHaveLength(12);
    await thread.dispose();
    const unknown = new WorkerSampler({ backend: 'abacus' as never });
    await expect(unknown.update(await learner.exportForSampler())).rejects.toThrow(/abacus/);
    await unknown.dispose();
  });
});
