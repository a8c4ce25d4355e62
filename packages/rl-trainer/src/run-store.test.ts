import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import { expect, it } from 'vitest';
import { RunStore } from './run-store.ts';
import { diagnosed } from './stages/diagnosis.ts';
import { testFolders } from './testing/small-model.ts';

const newFolder = testFolders();

async function storeWith(steps: readonly number[], keep = 2): Promise<RunStore> {
  const store = new RunStore(newFolder(), keep);
  for (const step of steps)
    await store.commit(step, { step }, async (folder) => writeFileSync(join(folder, 'weights'), `${step}`));
  return store;
}

it('forgets what a kill left: checkpoints half written, half removed, and too many', async () => {
  const { folder } = await storeWith([1, 2, 3, 4], 4);
  mkdirSync(join(folder, 'checkpoints/step-0000005.tmp'));
  writeFileSync(join(folder, 'checkpoints/step-0000005.tmp/weights'), 'half');
  mkdirSync(join(folder, 'checkpoints/step-0000000.tmp'));
  const store = new RunStore(folder);
  expect(readdirSync(join(folder, 'checkpoints')).sort()).toEqual(['step-0000003', 'step-0000004']);
  expect(store.latest()).toMatchObject({ step: 4, state: { step: 4 } });
});

it('leaves the checkpoints before as they are when one cannot be written', async () => {
  const store = await storeWith([1, 2]);
  const full = store.commit(3, {}, async (folder) => {
    writeFileSync(join(folder, 'weights'), 'half');
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  });
  await expect(full).rejects.toMatchObject({
    code: 'out-of-memory',
    message:
      /step-0000003: expected to write it, got ENOSPC: no space left.*make room and start the run again/,
  });
  expect(readdirSync(join(store.folder, 'checkpoints')).sort()).toEqual(['step-0000001', 'step-0000002']);
});

it('names the last good checkpoint where numbers are lost, which is not the one whose next step fails', async () => {
  const store = await storeWith([2, 4]);
  const lost = new MinkeError('invalid-argument', 'forwardBackward: the loss became NaN');
  const said = (step: number, saving = false) => diagnosed(lost, { name: 'trainSft', step, store, saving });
  expect(said(6)).toMatchObject({
    message:
      /^trainSft: step 6: .*became NaN; the last good checkpoint is of step 4, in .*; begin another run with a lower/,
    details: { lastGoodStep: 4 },
  });
  expect(said(5)).toMatchObject({
    message:
      /the checkpoint of step 4 is no good: the first step from it fails; the last good checkpoint is of step 2/,
    details: { lastGoodStep: 2 },
  });
  expect(said(5, true)).toMatchObject({ details: { lastGoodStep: 4 } });
  const other = new MinkeError('invalid-file', 'prompts.jsonl: line 3: expected text');
  expect(diagnosed(other, { name: 'trainSft', step: 5, store })).toMatchObject({
    code: 'invalid-file',
    message: 'trainSft: step 5: prompts.jsonl: line 3: expected text (the last checkpoint is of step 4)',
  });
  const stopped = new MinkeError('aborted', 'stopped');
  expect(diagnosed(stopped, { name: 'trainSft', step: 5, store })).toBe(stopped);
});
