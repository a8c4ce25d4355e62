import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Engine } from '@minke/inference';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readKept } from './kept-samples.ts';
import { LocalLearner } from './local-learner.ts';
import { LocalSampler } from './local-sampler.ts';
import {
  defaultRejection,
  type RejectionMetrics,
  type RejectionOptions,
  rejectionSample,
} from './rejection-sampling.ts';
import { type Candidate, type RejectionFilter, selectCandidates, unfinished } from './rejection-selection.ts';
import { read, smallModel, testBackend, testFolders } from './testing/small-model.ts';

const backend = await testBackend();
const newFolder = testFolders();
const letters = 'abcdefghijklmnopqrstuvwxyz';
const decode = (tokens: readonly number[]) => tokens.map((id) => letters[id]).join('');

let engine: Engine;
let options: Omit<RejectionOptions, 'folder'>;
/** Completions need a `b` or a `c`, and no `z`-side letters. */
const vowels: RejectionFilter = ({ text }) => (/[aei]/.test(text) ? null : 'no vowel');
const late: RejectionFilter = async ({ text }) => (/[t-x]/.test(text) ? 'late letter' : null);
beforeAll(() => {
  const learner = new LocalLearner(smallModel(backend));
  engine = new Engine(learner.model, {
    maxSequences: 16,
    contextLength: 32,
    form: 'expanded',
    temperedLogProbs: true,
  });
  options = {
    sampler: new LocalSampler(engine),
    prompts: Array.from({ length: 23 }, (_, i) => ({
      id: `p${i}`,
      tokens: [1 + (i % 7), 5, (i * 3) % 24],
      text: `question ${i}`,
      kind: i % 3 === 0 ? 'sums' : 'words',
      task: { answer: String(i) },
    })),
    config: {
      ...defaultRejection,
      samplesPerPrompt: 6,
      promptsPerBatch: 5,
      keepPerPrompt: 2,
      maxNewTokens: 8,
      seed: 3,
    },
    stopTokenIds: [0, 2, 4],
    decode,
    filters: [unfinished, vowels, late],
  };
});
afterAll(() => engine.dispose());

describe('rejectionSample', () => {
  it('keeps what passes every filter, with the ids it was sampled as, and counts the rest by reason', async () => {
    const folder = newFolder();
    const batches: RejectionMetrics[] = [];
    const summary = await rejectionSample({
      ...options,
      folder,
      onBatch: (metrics) => batches.push(metrics),
    });
    expect(summary).toMatchObject({ batch: 5, batches: 5, sampled: 23 * 6 });
    const rejected = Object.values(summary.reasons).reduce((a, b) => a + b);
    expect(rejected + summary.kept).toBe(summary.sampled);
    expect(Object.keys(summary.reasons)).toEqual(
      expect.arrayContaining(['late letter', 'no vowel', 'unfinished']),
    );
    const { sums, words } = summary.kinds;
    expect([sums?.prompts, words?.prompts]).toEqual([8, 15]);
    expect(sums!.kept + words!.kept).toBe(summary.kept);
    expect(batches.map(({ kept }) => kept).reduce((a, b) => a + b)).toBe(summary.kept);

    const kept = await readKept(join(folder, 'kept.jsonl'));
    expect(kept).toHaveLength(summary.kept);
    expect(summary.kept).toBeGreaterThan(5);
    const perPrompt = new Map<string, Set<string>>();
    for (const { ids, completionStart, row } of kept) {
      expect([...ids].slice(0, completionStart)).toEqual(row.prompt_tokens);
      expect(options.stopTokenIds).toContain(ids.at(-1));
      expect(decode([...ids].slice(completionStart, -1))).toBe(row.completion);
      expect(row.completion).toMatch(/^(?=.*[aei])[^t-x]*$/);
      expect(row).toMatchObject({ prompt: `question ${row.id.slice(1)}`, answer: row.id.slice(1) });
      const own = perPrompt.get(row.id) ?? new Set();
      perPrompt.set(row.id, own.add(row.completion));
    }
    for (const own of perPrompt.values()) expect(own.size).toBeLessThanOrEqual(2);
    expect(kept.length).toBe([...perPrompt.values()].reduce((n, own) => n + own.size, 0));
  });

  it('ends with the same bytes when it was killed between and within batches', async () => {
    const [whole, killed] = [newFolder(), newFolder()];
    const summary = await rejectionSample({ ...options, folder: whole });
    // Killed before the first batch was complete.
    mkdirSync(killed, { recursive: true });
    writeFileSync(join(killed, 'kept.jsonl'), '{"id":"p0","completion":"half a li');
    for (const at of [2, 4]) {
      const die = ({ batch }: RejectionMetrics) => {
        if (batch === at) throw new Error('killed');
      };
      await expect(rejectionSample({ ...options, folder: killed, onBatch: die })).rejects.toThrow('killed');
      // Killed while the next batch was being written.
      appendFileSync(join(killed, 'kept.jsonl'), '{"id":"p9","completion":');
      appendFileSync(join(killed, 'metrics.jsonl'), '{"batch":');
      writeFileSync(join(killed, 'rejection.json.tmp'), '{"batch": 3, "samp');
    }
    expect(await rejectionSample({ ...options, folder: killed })).toEqual(summary);
    for (const name of ['kept.jsonl', 'metrics.jsonl', 'rejection.json'])
      expect(read(killed, name)).toBe(read(whole, name));
    const batches: number[] = [];
    await rejectionSample({ ...options, folder: whole, onBatch: ({ batch }) => batches.push(batch) });
    expect(batches).toEqual([]);
  });

  it('stops when asked to and goes on later', async () => {
    const folder = newFolder();
    const stop = new AbortController();
    const run = rejectionSample({ ...options, folder, signal: stop.signal, onBatch: () => stop.abort() });
    await expect(run).rejects.toMatchObject({ code: 'aborted' });
    expect((await rejectionSample({ ...options, folder })).batch).toBe(5);
  });

  it('refuses the folder of another run, and names every bad setting', async () => {
    const folder = newFolder();
    await rejectionSample({ ...options, folder, prompts: options.prompts.slice(0, 2) });
    await expect(rejectionSample({ ...options, folder })).rejects.toThrow(/other prompts/);
    const other = { ...options, folder, config: { ...options.config, seed: 4 } };
    await expect(rejectionSample({ ...other, prompts: options.prompts.slice(0, 2) })).rejects.toThrow(
      /other settings/,
    );
    const twice = [options.prompts[0]!, options.prompts[0]!, { ...options.prompts[1]!, tokens: [] }];
    const config = { ...options.config, samplesPerPrompt: 0, temperature: 0 };
    await expect(
      rejectionSample({ ...options, config, folder: newFolder(), prompts: twice, stopTokenIds: [] }),
    ).rejects.toThrow(/samplesPerPrompt.*temperature.*stopTokenIds.*p0 twice.*token ids in prompt p1/);
    await expect(rejectionSample({ ...options, folder: newFolder(), prompts: [] })).rejects.toThrow(
      /one prompt or more/,
    );
  });
});

describe('selectCandidates', () => {
  const candidate = (sample: number, text: string): Candidate => ({
    prompt: { id: 'p', tokens: [1], text: '', kind: 'k', task: {} },
    sample,
    text,
    tokens: [1],
    finish: 'stop',
    policyVersion: 0,
  });

  it('names the first reason, then duplicates, then what is over the number wanted', async () => {
    const texts = ['a', 'a', 'A', 'bad', 'b', 'c'];
    const filters: RejectionFilter[] = [({ text }) => (text === 'bad' ? 'bad' : null), () => null];
    const candidates = texts.map((text, i) => candidate(i, text));
    const reasons = await selectCandidates(candidates, { filters, keepPerPrompt: 2 });
    expect(reasons).toEqual([null, 'duplicate', null, 'bad', 'surplus', 'surplus']);
    const keyOf = ({ text }: Candidate) => text.toLowerCase();
    expect(await selectCandidates(candidates, { filters, keepPerPrompt: 2, keyOf })).toEqual([
      null,
      'duplicate',
      'duplicate',
      'bad',
      null,
      'surplus',
    ]);
  });
});

describe('readKept', () => {
  it('names the line of a file that holds something else', async () => {
    const path = `${newFolder()}.jsonl`;
    writeFileSync(path, '{"prompt_tokens":[1],"completion_tokens":[2]}\n{"messages":[]}\n');
    await expect(readKept(path)).rejects.toThrow(
      /line 2: expected prompt_tokens and completion_tokens, got messages/,
    );
  });
});
