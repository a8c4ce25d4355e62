import { appendFileSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { JsonLinesTail } from './json-lines.ts';
import { sampleView } from './sample-view.ts';
import { StageLogs } from './stage-logs.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'minke-logs-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('gives complete lines once, and starts over when a file was cut back', () => {
  const path = join(folder, 'metrics.jsonl');
  const tail = new JsonLinesTail(path);
  expect(tail.read()).toEqual({ lines: [], restarted: false });
  writeFileSync(path, '{"a":1}\n{"a":2}\n{"a"');
  expect(tail.read()).toEqual({ lines: [{ a: 1 }, { a: 2 }], restarted: false });
  appendFileSync(path, ':3}\nnot json\n[1]\n');
  expect(tail.read()).toEqual({ lines: [{ a: 3 }], restarted: false });
  expect(tail.read()).toEqual({ lines: [], restarted: false });
  truncateSync(path, 8);
  expect(tail.read()).toEqual({ lines: [{ a: 1 }], restarted: true });
  // Cut and grown past where the reading stood: other bytes, so from the start.
  writeFileSync(path, '{"b":1}\n{"b":2}\n');
  expect(tail.read()).toEqual({ lines: [{ b: 1 }, { b: 2 }], restarted: true });
  rmSync(path);
  expect(tail.read()).toEqual({ lines: [], restarted: true });
});

it('finds the logs of every model that a stage trains, checkpoints passed by', () => {
  const logs = new StageLogs(folder, 2);
  expect(logs.poll()).toEqual([]);
  for (const inner of ['', 'control/no-kl', 'checkpoints/step-0000001'])
    mkdirSync(join(folder, inner), { recursive: true });
  writeFileSync(join(folder, 'metrics.jsonl'), '{"loss":1}\n');
  writeFileSync(join(folder, 'control/no-kl/samples.jsonl'), '{"n":1}\n{"n":2}\n{"n":3}\n');
  writeFileSync(join(folder, 'checkpoints/step-0000001/metrics.jsonl'), '{"loss":9}\n');
  expect(logs.poll()).toEqual(['', 'control/no-kl']);
  expect(logs.poll()).toEqual([]);
  expect(logs.logs()).toEqual([
    { name: '', metrics: [{ loss: 1 }], samples: [] },
    { name: 'control/no-kl', metrics: [], samples: [{ n: 2 }, { n: 3 }] },
  ]);
});

it('takes thought and answer apart, with or without the opening tag', () => {
  const view = (completion: string) => {
    const { thought, answer } = sampleView({ prompt: 'p', completion });
    return [thought, answer];
  };
  expect(view('<think>\n1 + 1\n</think>\n2')).toEqual(['1 + 1', '2']);
  expect(view('1 + 1\n</think>\n2')).toEqual(['1 + 1', '2']);
  expect(view('<think>\n1 + 1')).toEqual(['1 + 1', '']);
  expect(view('2')).toEqual([null, '2']);
  expect(view('</think>2')).toEqual([null, '2']);
  const messages = [{ role: 'user', content: 'a' }, { role: 'user', content: 'b' }, null, 3];
  expect(
    sampleView({
      prompt: messages,
      rewards: { accuracy: 1, helpful: null },
      reward: 'much',
      finish: 'length',
    }),
  ).toEqual({
    step: null,
    prompt: 'a\nb',
    thought: null,
    answer: '',
    reward: null,
    rewards: { accuracy: 1, helpful: null },
    advantage: null,
    cut: true,
  });
});
