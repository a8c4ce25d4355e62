// The driver and its report at a tiny size, on a corpus of a few texts: every kind of arm, stopped, resumed, measured.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bitsPerByte, modelScorer } from '../../packages/evaluation/dist/index.js';
import { auto } from '../../packages/gpu-backends/dist/index.js';
import { armMerging, arms, flopsPerToken, planArm, plannedFlopsPerToken, settings } from './arms.mjs';
import { pieces, textData } from './data.mjs';
import { freshAndStale, headroom, inflationHeadroom, ownChanges } from './headroom.mjs';
import { lossBeside, reportFiles } from './report.mjs';
import { bitsOf, difference, floors, readResults } from './results.mjs';
import { study } from './run.mjs';
import { trainedModel } from './train-arm.mjs';

let root;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'minke-study-'));
  const corpus = join(root, 'corpus');
  mkdirSync(corpus);
  const words = 'the kernel maps a page when memory of the process is full and writes it back'.split(' ');
  const text = (seed) =>
    `${Array.from({ length: 60 }, (_, i) => words[(i * i + seed * (i + 3)) % words.length]).join(' ')}.\n`;
  const lines = (from, count) =>
    Array.from({ length: count }, (_, i) =>
      JSON.stringify({ source: 'made', path: `${from + i}.txt`, text: text(from + i) }),
    ).join('\n');
  writeFileSync(join(corpus, 'train.jsonl'), lines(0, 60));
  writeFileSync(join(corpus, 'test.jsonl'), lines(100, 6));
  writeFileSync(join(corpus, 'manifest.json'), '{}');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const run = (args, lines = []) =>
  study(
    [
      ...['--setting', 'tiny', '--corpus', join(root, 'corpus'), '--threads', '1'],
      ...['--out', join(root, 'runs'), '--results', join(root, 'results'), ...args],
    ],
    { say: (line) => lines.push(line) },
  );

// Seconds on an idle machine; minutes where others compute.
describe('the driver', { timeout: 600_000 }, () => {
  it('lists every run with its tokens, more of them where a token costs less', async () => {
    const lines = [];
    expect(await run(['--list'], lines)).toEqual([]);
    expect(lines).toHaveLength(arms.reduce((n, { seeds }) => n + seeds, 0));
    const tokens = (name) => Number(/([\d.]+)M tokens/.exec(lines.find((line) => line.startsWith(name)))[1]);
    expect(tokens('ours-2-0')).toBeGreaterThanOrEqual(tokens('plain-0'));
  });

  it('trains, measures and writes down arms of every kind', async () => {
    const text = ['plain', 'plain-conv', 'random-2', 'ours-2', 'paced-2', 'learned-2', 'hybrid-3-1', 'dsa'];
    const names = [...text, 'tasks-ours-2'];
    const done = await run([...names.flatMap((name) => ['--only', name]), '--seed', '0']);
    expect(done.map(({ arm }) => arm)).toEqual(names);
    for (const {
      arm,
      task,
      training,
      cacheBytesPerToken,
      compression,
      bitsPerByte,
      documents,
      ...rest
    } of done) {
      expect(training.curve.at(-1)[1], arm).toBeLessThan(training.curve[0][1]);
      expect(training.tokens).toBeGreaterThanOrEqual(settings.tiny.tokens);
      expect(training.seconds).toBeGreaterThan(0);
      expect(rest.machine.plainStepSeconds).toBeGreaterThan(0);
      expect(cacheBytesPerToken).toBeGreaterThan(0);
      expect(compression > 1).toBe(/-2$/.test(arm));
      if (task === 'text') {
        expect(documents).toHaveLength(6);
        expect(documents.reduce((n, { bits }) => n + bits, 0) / rest.bytes).toBeCloseTo(bitsPerByte.value, 3);
        expect(bitsPerByte.value).toBeLessThan(8);
      } else expect(rest.n).toBe(5);
    }
    const flops = [done[0], done[2]].map(({ training }) => training.flops);
    expect(Math.abs(flops[0] / flops[1] - 1)).toBeLessThan(0.25); // whole steps of a few
  });

  it('does no run again, and goes on with one that was stopped to the same bits', async () => {
    const lines = [];
    const path = join(root, 'results', 'plain-0.json');
    const before = readFileSync(path, 'utf8');
    await run(['--only', 'plain', '--seed', '0'], lines);
    expect(lines).toEqual([expect.stringMatching(/plain seed 0: complete/)]);
    expect(readFileSync(path, 'utf8')).toBe(before);
    rmSync(path);
    rmSync(join(root, 'runs', 'plain-0'), { recursive: true });
    await run(['--only', 'plain', '--seed', '0', '--stop-after', '2']);
    expect(existsSync(path)).toBe(false);
    await run(['--only', 'plain', '--seed', '0']);
    const [again, first] = [readFileSync(path, 'utf8'), before].map((text) => JSON.parse(text));
    expect(again.documents).toEqual(first.documents);
    expect(again.training.curve).toEqual(first.training.curve);
  });

  it('predicts every token behind a boundary and behind none', async () => {
    const [done] = await run(['--only', 'stride-2', '--seed', '0']);
    const [folder, setting] = [join(root, 'runs', 'stride-2-0'), settings.tiny];
    const data = textData(join(root, 'runs'), join(root, 'corpus'), setting);
    const arm = arms.find(({ name }) => name === 'stride-2');
    const own = { arm, setting, seed: 0, data, backend: await auto({ threads: 1 }) };
    const model = await trainedModel({ ...own, folder });
    // Its own router takes even places: behind these it is fresh, behind the others stale.
    const documents = data.documents.map(({ ids, ...rest }) => ({ ...rest, ids: ids.slice(0, 40) }));
    const tokens = await freshAndStale(model, documents, 40);
    expect(tokens).toHaveLength(documents.length * 37);
    const [expected] = await modelScorer(model)([{ ids: documents[0].ids, from: 3 }]);
    const found = tokens.filter(({ document }) => document === 0);
    expect(found.map(({ fresh, stale }, i) => (i % 2 === 0 ? -fresh : -stale))).toEqual([...expected]);
    // Its router has odd places behind no boundary; a boundary there changes nothing before it, and what is at it.
    const how = { context: 40, every: 1, spacing: 40 };
    const { all, tokens: odd } = await ownChanges(model, documents, how);
    expect([all, odd.length]).toEqual([documents.length * 39, documents.length * 19]);
    const stale = found.filter((_, i) => i % 2 === 1).map((one) => one.stale);
    expect(odd.slice(1, 19).map((one) => one.stale)).toEqual(stale.slice(0, 18));
    expect(odd.every((one) => one.fresh !== one.stale)).toBe(true);
    // With every token a boundary all odd places have theirs at once: the first of a window is the same, later ones not.
    const { tokens: together } = await ownChanges(model, documents, { ...how, spacing: 1 });
    expect(together[0]).toEqual(odd[0]);
    expect(together[18]).not.toEqual(odd[18]);
    // The weights are the trained ones.
    const score = await bitsPerByte({ ...setting, documents: data.documents, score: modelScorer(model) });
    expect(score.bitsPerByte.value).toBe(done.bitsPerByte.value);
    await expect(trainedModel({ ...own, folder: join(root, 'nothing') })).rejects.toThrow(
      /complete run of \d+ steps in .*nothing, got 0/,
    );
  });

  it.each([
    [['--only', 'sideways'], /expected arms among plain, .*got sideways/],
    [['--seed', '-1'], /seed/],
    [['--setting', 'huge'], /expected a setting among full, smoke, tiny, got huge/],
    [['--fast'], /--fast/],
  ])('refuses %j', async (args, message) => {
    await expect(run(args)).rejects.toThrow(message);
  });
});

describe('the plan', () => {
  it('gives every arm the same budget, and at least the tokens of the setting', () => {
    for (const task of ['text', 'reasoning']) {
      const plans = arms.filter((arm) => arm.task === task).map((arm) => planArm(arm, settings.full, 4096));
      expect(new Set(plans.map(({ budget }) => budget)).size).toBe(1);
      expect(Math.min(...plans.map(({ tokens }) => tokens))).toBe(settings.full.tokens);
    }
  });

  it('costs less a token the more is merged, and counts the way there', () => {
    const arm = (name) => arms.find((one) => one.name === name);
    const [plain, half, two] = ['plain', 'ours-1.5', 'ours-2'].map((name) =>
      flopsPerToken(arm(name), settings.full, 4096),
    );
    expect(two).toBeLessThan(half);
    expect(half).toBeLessThan(plain);
    expect(plannedFlopsPerToken(arm('learned-2'), settings.full, 4096)).toBeGreaterThan(two);
    for (const name of ['ours-2', 'stride-2'])
      expect(plannedFlopsPerToken(arm(name), settings.full, 4096)).toBe(
        flopsPerToken(arm(name), settings.full, 4096),
      );
    expect(armMerging(arm('random-2'), settings.full, 2)).toMatchObject({ router: 'random', seed: 2 });
  });
});

it('cuts documents so that every token but the first is predicted once', () => {
  const ids = Array.from({ length: 21 }, (_, i) => i);
  const targets = pieces(ids, 8).flatMap((piece) => [...piece.ids.slice(1)]);
  expect(targets).toEqual(ids.slice(1));
  expect(pieces(ids, 8).map((piece) => piece.ids.length)).toEqual([8, 8, 7]);
  expect(pieces([0], 8)).toEqual([]);
});

describe('the report', () => {
  const bytes = [100, 150, 120, 90];
  const result = (arm, seed, factor, changes = {}) => {
    const documents = bytes.map((n, i) => ({
      id: `${i}`,
      bytes: n,
      bits: n * (1.5 + 0.2 * i) * factor,
      tokens: n,
    }));
    const total = documents.reduce((n, { bits }) => n + bits, 0);
    return {
      ...{
        arm,
        seed,
        setting: 'full',
        task: 'text',
        label: `the arm ${arm}`,
        compression: 2,
        cacheBytesPerToken: 900,
      },
      ...{ documents, bitsPerByte: { value: total / 460, low: 1, high: 2 }, parameters: { active: 2e6 } },
      training: {
        tokens: 1e7,
        flops: 2e14,
        seconds: 1000,
        curve: [
          [1e6, 3],
          [1e7, 2],
        ],
      },
      ...{
        settings: { context: 1024 },
        machine: { cpu: 'x', cores: 2, backend: 'native' },
        commit: 'abc',
        ...changes,
      },
    };
  };
  const of = (...runs) =>
    new Map(
      [...new Set(runs.map(({ arm }) => arm))].map((name) => [name, runs.filter(({ arm }) => arm === name)]),
    );

  it('says of each floor whether it holds, is missed, or was not measured', () => {
    const seeds = (arm, factor) => [0, 1, 2].map((seed) => result(arm, seed, factor * (1 + seed / 100)));
    const results = of(
      ...seeds('plain', 1),
      ...seeds('ours-2', 1.01),
      ...seeds('random-2', 1.05),
      ...seeds('ours-2-copy', 1),
      ...[result('ours-1.5', 0, 1.005, { compression: 1.5 })],
    );
    const found = floors(results);
    expect(found.map(({ holds }) => holds)).toEqual([true, null, false, null, true, null]);
    expect(found[1].why).toBe('needs runs of ours-2 and stride-2');
    expect(found[0].why).toMatch(/^-0\.0\d+ \(-0\.0\d+ to -0\.0\d+\); seeds -/);
    expect(floors(of(result('plain', 0, 1), result('ours-1.5', 0, 1.02))).at(-2).holds).toBe(false);
  });

  it('does not call arms better that merge less', () => {
    const results = of(result('ours-2', 0, 1, { compression: 1.8 }), result('random-2', 0, 1.1));
    expect(floors(results)[0]).toMatchObject({
      holds: false,
      why: expect.stringMatching(/compression differs: 1.80 and 2.00/),
    });
  });

  it('pairs the seeds that both arms have', () => {
    const results = of(
      result('plain', 0, 1),
      result('plain', 2, 1.1),
      result('local', 2, 1.2),
      result('local', 1, 9),
    );
    const { value, seeds, base } = difference(results, 'plain', 'local');
    expect(seeds).toHaveLength(1);
    expect(value).toBeCloseTo(base * (1.2 / 1.1 - 1), 9);
    expect(difference(of(result('plain', 0, 1)), 'plain', 'local')).toBeNull();
    expect(bitsOf(results.get('plain')).value).toBeCloseTo(1.05 * bitsOf([result('plain', 0, 1)]).value, 9);
  });

  it('writes tables and plots of what was run', () => {
    const files = reportFiles(readResults(join(root, 'results')));
    const text = files.get('README.md');
    for (const part of ['## Real text', '### Floors', '## Reasoning tasks', '| DSA | **', 'not measured'])
      expect(text).toContain(part);
    for (const name of text.matchAll(/\]\((\S+\.svg)\)/g))
      expect(files.get(name[1])).toMatch(/^<svg .*<\/svg>\n$/s);
    expect(readdirSync(join(root, 'results'))).toHaveLength(10);
    expect([...reportFiles(new Map()).keys()]).toEqual(['README.md']);
  });

  it('says what other boundaries would gain', () => {
    // Pair `a` loses a nat where its change is not fresh, `b` nothing, `c` is unknown.
    const made = [0, 1].flatMap((document) =>
      ['a', 'b', 'a', 'b', document === 1 ? 'c' : 'a', 'b'].flatMap((pair) =>
        Array.from({ length: 50 }, () => ({ document, pair, fresh: 2, stale: pair === 'b' ? 2 : 3 })),
      ),
    );
    const found = headroom(made);
    expect(found).toMatchObject({ tokens: 600, fresh: 2, stale: 2.5, judged: { stride: 0.25, byPair: 0 } });
    expect(found.stride).toEqual({ value: 0.25, low: 0.25, high: 0.25 });
    const results = readResults(join(root, 'results'));
    const inflation = {
      arm: 'ours-2-copy',
      ...inflationHeadroom({
        all: 8,
        tokens: [0, 1].flatMap((document) => [
          { document, stale: 3, fresh: 1 },
          { document, stale: 1, fresh: 2 },
        ]),
      }),
    };
    expect(inflation).toMatchObject({ tokens: 4, share: 0.5, stale: 2, fresh: 1.5 });
    expect(inflation.gain).toEqual({ value: 0.25, low: 0.25, high: 0.25 });
    const known = { arm: 'stride-2', seed: 0, bitsPerByteOfNat: 0.5, ...found, inflation };
    const text = reportFiles(results, known).get('README.md');
    expect(text).toMatch(/0.1250 bits a byte \(0.1250 to 0.1250\).*leaves 0.0000 of 0.1250/);
    expect(text).toMatch(/\(4 tokens, 50.0 % of all\).* for every token: -0.1250 \(-0.1250 to -0.1250\)/);
    expect(reportFiles(results).get('README.md')).not.toContain('other boundaries');
  });

  it('draws losses above those of another run at the same arithmetic', () => {
    const run = (tokens, above) => ({
      training: {
        ...{ tokens, flops: 100e12 },
        curve: Array.from({ length: 100 }, (_, i) => [
          ((i + 1) * tokens) / 100,
          3 - i / 50 + (i % 2 === 0 ? above : 0),
        ]),
      },
    });
    const { label, x, y } = lossBeside('ours', run(5000, 0.2), run(9000, 0));
    expect(label).toBe('ours');
    expect(x[0]).toBeCloseTo(20, 9);
    expect(x.every((at, i) => i === 0 || Math.abs(at - x[i - 1] - 3) < 1e-9)).toBe(true);
    expect(x.at(-1)).toBeGreaterThan(96);
    for (const value of y.slice(2, -2)) expect(Math.abs(value - 0.1)).toBeLessThan(0.011);
    expect(lossBeside('same', run(9000, 0), run(9000, 0)).y.every((value) => value === 0)).toBe(true);
  });

  it('gives seconds as on the machine of the first plain run', () => {
    const on = (plainStepSeconds) => ({
      machine: { cpu: 'x', cores: 2, backend: 'native', ...(plainStepSeconds && { plainStepSeconds }) },
    });
    const seconds = (...machines) => {
      const [plain, ours] = machines.map((own, i) => result(['plain', 'ours-2'][i], 0, 1, on(own)));
      const rows = reportFiles(of(plain, ours))
        .get('README.md')
        .match(/^\| the arm .*$/gm);
      return rows.slice(0, 2).map((row) => Number(row.split(' | ').at(-2)));
    };
    expect(seconds(2, 2)).toEqual([1000, 1000]);
    expect(seconds(2, 1)).toEqual([1000, 2000]);
    expect(seconds(2, undefined)).toEqual([1000, 1000]);
  });

  it('refuses files that are no results', () => {
    const folder = mkdtempSync(join(root, 'bad-'));
    writeFileSync(join(folder, 'a.json'), '{');
    expect(() => readResults(folder)).toThrow(/a.json: expected a result of the study/);
    writeFileSync(join(folder, 'a.json'), '{"arm":"sideways","seed":0}');
    expect(() => readResults(folder)).toThrow(/got sideways/);
  });
});
