/** The built command: arguments, exit codes, logits in every form, training and measuring from end to end. */
import { existsSync, statSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectBuilt, type Run, type RunOptions, runMinke } from './testing/run-minke.ts';
import { saveSmallLanguage } from './testing/small-language.ts';

let folder: string;
let model: string;

/** Runs `minke` to its end. */
const minke = (args: readonly string[], options: Omit<RunOptions, 'cwd'> = {}) =>
  runMinke(args, { cwd: folder, ...options });

beforeAll(async () => {
  expectBuilt();
  folder = await mkdtemp(join(tmpdir(), 'minke-cli-'));
  model = join(folder, 'small');
  const widths = {
    hiddenSize: 32,
    intermediateSize: 48,
    qLoraRank: 16,
    kvLoraRank: 12,
    vHeadDim: 8,
    expertSize: 12,
  };
  await saveSmallLanguage(model, widths, 'f32');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('usage', () => {
  it.each([
    ['an unknown command', ['dance'], "unknown command 'dance'"],
    ['an unknown option', ['serve', '--colour'], "unknown option '--colour'"],
    ['a folder that does not exist', ['logits', '/no/such', '--ids', '1'], 'does not exist'],
    ['no ids', ['logits', '.'], '--ids'],
    ['ids that are none', ['logits', '.', '--ids', '5,x'], 'token ids'],
    ['negative ids', ['logits', '.', '--ids=-5'], 'token ids'],
    ['an unknown form', ['logits', '.', '--ids', '1', '--form', 'melted'], 'expanded, absorbed'],
    ['a cache type there is none of', ['chat', '.', '--cache-type', 'f16'], 'f32, bf16, q8_0'],
    ['an unknown backend', ['logits', '.', '--ids', '1', '--backend', 'abacus'], 'reference'],
    ['a port out of range', ['serve', '.', '--port', '65536'], 'port from 0 to 65535'],
    ['no threads', ['serve', '.', '--threads', '0'], 'positive'],
    ['an unknown family', ['eval', '.', '--families', 'chess'], 'got chess'],
    ['a level that is none', ['eval', '.', '--level', '5'], 'level from 1 to 4'],
    [
      'a level that families lack',
      ['eval', '.', '--families', 'gcd,products', '--level', '4'],
      'got products',
    ],
    ['a share above one', ['eval', '.', '--spanish', '1.5'], 'share from 0 to 1'],
    ['unknown families of a training', ['train', 'sft', '--out', 'x', '--weights', 'chess=1'], 'names of'],
    ['an unknown thought', ['train', 'sft', '--out', 'x', '--thought-length', 'huge=1'], 'default, long'],
    ['tries that are none', ['train', 'sft', '--out', 'x', '--wrong-tries', '0,0'], 'one of them above'],
    [
      'kinds of thoughts for a file of data',
      ['train', 'sft', '--out', 'x', '--init-from', '.', '--data', 'd', '--wrong-tries', '1,1'],
      'got also --wrong-tries',
    ],
    ['an endpoint without its model', ['eval', '--endpoint', 'http://127.0.0.1:1/v1'], '--model together'],
    ['a model without its endpoint', ['eval', '--model', 'm'], '--endpoint and --model'],
    ['an endpoint that is no URL', ['eval', '--endpoint', 'localhost:80', '--model', 'm'], 'expected a URL'],
    [
      'an endpoint and a folder',
      ['eval', '.', '--endpoint', 'http://127.0.0.1:1/v1', '--model', 'm'],
      'got both',
    ],
    ['samples that are all equal', ['eval', '.', '--samples', '2', '--temperature', '0'], 'one sample'],
    ['a top-p of nothing', ['eval', '.', '--samples', '2', '--top-p', '0'], 'above 0'],
    ['a fraction of a problem', ['eval', '.', '--count', '0.5'], 'positive'],
    ['a training without a folder', ['train', 'sft'], '--out'],
    ['a training without a model', ['train', 'sft', '--out', 'x'], '--init-from'],
    [
      'a training with two models',
      ['train', 'sft', '--out', 'x', '--init-from', '.', '--model-config', 'c', '--tokenizer', '.'],
      '--init-from',
    ],
    [
      'an adapter of nothing',
      ['train', 'sft', '--out', 'x', '--init-from', '.', '--lora-r', '0'],
      'positive',
    ],
    [
      'an adapter without a rank',
      ['train', 'sft', '--out', 'x', '--init-from', '.', '--lora-target', 'o_proj'],
      '--lora-r',
    ],
    [
      'an adapter on a new model',
      ['train', 'sft', '--out', 'x', '--model-config', 'c', '--tokenizer', '.', '--lora-r', '2'],
      '--init-from beside --lora-r',
    ],
    ['a merge into nowhere', ['merge', '.', '.'], '--out'],
    ['steps that are none', ['train', 'sft', '--out', 'x', '--steps', 'many'], 'positive'],
  ])('%s ends with 2 and says what was expected', async (_, args, expected) => {
    const { code, out, err } = await minke(args);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toContain(expected);
    expect(err).toMatch(/^error: .*\n(\(Did you mean .*\)\n)?$/);
  });

  it('a wrong PORT in the environment ends with 2', async () => {
    const { code, err } = await minke(['serve', model], { env: { PORT: 'eighty' } });
    expect(code).toBe(2);
    expect(err).toContain('PORT');
  });

  it('help and version end with 0', async () => {
    expect(await minke(['--help'])).toMatchObject({ code: 0, err: '' });
    expect((await minke(['logits', '--help'])).out).toContain('--ids');
    expect((await minke(['--version'])).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('a failure is one line and 1, with a stack only under DEBUG', async () => {
    const run = await minke(['logits', folder, '--ids', '1'], { env: { DEBUG: '' } });
    expect(run.code).toBe(1);
    expect(run.err).toMatch(/^minke: .*config\.json.*\n$/);
    const debug = await minke(['logits', folder, '--ids', '1'], { env: { DEBUG: '1' } });
    expect(debug.code).toBe(1);
    expect(debug.err).toContain('\n    at ');
  });
});

describe('logits', () => {
  const parse = ({ code, out, err }: Run): number[][] => {
    expect({ code, err }).toEqual({ code: 0, err: '' });
    return (JSON.parse(out) as { logits: number[][] }).logits;
  };

  it('agree in every form, in one shot and step by step, from a folder and from its file', async () => {
    const ids = ['--ids', '5, 9,2,77', '--json'];
    const full = parse(await minke(['logits', model, ...ids, '--backend', 'reference']));
    expect(full.map((row) => row.length)).toEqual(Array(4).fill(full[0]?.length));
    const others = [
      ['--form', 'expanded'],
      ['--form', 'absorbed'],
      ['--step'],
      ['--step', '--form', 'expanded'],
      ['--step', '--form', 'absorbed'],
    ];
    for (const form of others) {
      const rows = parse(await minke(['logits', model, ...ids, ...form]));
      rows.forEach((row, t) => {
        row.forEach((value, id) => {
          expect(Math.abs(value - (full[t]?.[id] as number))).toBeLessThan(1e-4);
        });
      });
    }
    const fromFile = await minke([
      'logits',
      join(model, 'model.safetensors'),
      ...ids,
      '--backend',
      'reference',
    ]);
    expect(parse(fromFile)).toEqual(full);
  });

  it('are near with rounded latents, the same whole and step by step', async () => {
    const run = async (...options: string[]) =>
      parse(await minke(['logits', model, '--ids', '5,9,2,77', '--json', '--form', 'absorbed', ...options]));
    const exact = (await run()).flat();
    for (const type of ['bf16', 'q8_0']) {
      const whole = await run('--cache-type', type);
      expect(await run('--cache-type', type, '--step')).toEqual(whole);
      const errors = whole.flat().map((logit, i) => Math.abs(logit - (exact[i] as number)));
      expect(Math.max(...errors)).toBeGreaterThan(0);
      expect(Math.max(...errors)).toBeLessThan(0.05 * Math.max(...exact.map(Math.abs)));
    }
  });

  it('refuse ids beyond the vocabulary and more than the context', async () => {
    for (const ids of ['4000', Array(129).fill(1).join()]) {
      const { code, err } = await minke(['logits', model, '--ids', ids]);
      expect(code).toBe(2);
      expect(err).toMatch(/^error: --ids: expected .*\n$/);
    }
  });
});

describe('chat', () => {
  it('answers one question; --json is one object on standard output', async () => {
    const args = ['chat', model, '-m', 'What is 1 + 1?', '--max-tokens', '5', '--json'];
    const { code, out } = await minke(args);
    expect(code).toBe(0);
    const said = JSON.parse(out);
    expect(said).toMatchObject({ finish: 'length', usage: { completionTokens: 5, reasoningTokens: 5 } });
    expect(JSON.parse((await minke(args)).out)).toEqual(said);
  });

  it('answers the same from weights of 8 bits, and refuses other types', async () => {
    const args = ['chat', '-m', 'What is 348 + 977?', '--temperature', '0', '--quantize'];
    expect(await minke([...args, 'q8_0'])).toMatchObject({ code: 0, out: 'The answer is 1325.\n' });
    const refused = await minke([...args, 'q3']);
    expect(refused).toMatchObject({ code: 2, out: '' });
    expect(refused.err).toContain('Allowed choices are q8_0, q4_0');
  });

  it('talks to the embedded model where no folder is named', async () => {
    const { code, out } = await minke(['chat', '-m', 'What is 348 + 977?', '--temperature', '0', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ answer: 'The answer is 1325.', finish: 'stop' });
    const piped = await minke(['chat', '--temperature', '0'], { input: 'What is 348 + 977?\n' });
    expect(piped.out).toBe('The answer is 1325.\n');
    expect(piped.err).toContain('8+7=15');
  });

  it('answers a piped conversation line by line', async () => {
    const { code, out } = await minke(['chat', model, '--max-tokens', '3', '--json'], {
      input: 'one?\n\ntwo?\n',
    });
    expect(code).toBe(0);
    expect(
      out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).usage.completionTokens),
    ).toEqual([3, 3]);
  });

  it('keeps the thought out of a pipe', async () => {
    const { out, err } = await minke(['chat', model, '-m', 'one?', '--max-tokens', '8']);
    expect(out).toBe('\n');
    expect(err.length).toBeGreaterThan(0);
  });
});

describe('bench', () => {
  it('measures a model and writes a trace that says where the time went', async () => {
    const size = ['--sequences', '2', '--length', '8', '--tokens', '4', '--rounds', '1'];
    const run = await minke(['bench', model, ...size, '--trace', 'trace.json', '--json']);
    expect([run.code, run.err]).toEqual([0, '']);
    const { results, commands } = JSON.parse(run.out);
    expect(results.map((row: { case: string }) => row.case)).toEqual(['prefill', 'decode', 'train-step']);
    for (const { ms, tokensPerSecond } of results) expect(Math.min(ms, tokensPerSecond)).toBeGreaterThan(0);
    expect(commands.map(({ op }: { op: string }) => op)).toContain('adamW');
    const { traceEvents } = JSON.parse(await readFile(join(folder, 'trace.json'), 'utf8'));
    const timed = traceEvents.filter(({ ph }: { ph: string }) => ph === 'X');
    const named = (name: string) => timed.filter((event: { name: string }) => event.name === name);
    const [step] = named('train-step');
    expect(named('attentionGrad').length).toBeGreaterThan(0);
    for (const { ts, dur } of named('adamW')) {
      expect(ts).toBeGreaterThanOrEqual(step.ts);
      expect(ts + dur).toBeLessThanOrEqual(step.ts + step.dur);
    }
  });

  it('refuses a context that is too long, and a trace of a backend without times', async () => {
    const long = await minke(['bench', model, '--length', '4000']);
    expect([long.code, long.err]).toEqual([2, expect.stringMatching(/at most \d+ together \(the context\)/)]);
    const size = ['--sequences', '1', '--length', '2', '--tokens', '1', '--rounds', '1'];
    const none = await minke(['bench', model, ...size, '--backend', 'reference', '--trace', 'none.json']);
    expect([none.code, none.err]).toEqual([1, expect.stringMatching(/expected a backend that can time/)]);
  });
});

describe('train sft and eval', () => {
  /** A file of three sums. */
  async function conversations(name: string): Promise<string> {
    const rows = [1, 2, 3].map((n) =>
      JSON.stringify({
        messages: [
          { role: 'user', content: `What is ${n} + ${n}?` },
          { role: 'assistant', content: `The answer is ${2 * n}.`, reasoning_content: `${n}+${n}=${2 * n}` },
        ],
      }),
    );
    await writeFile(join(folder, name), `${rows.join('\n')}\n`);
    return join(folder, name);
  }

  it('trains a new model on a file of conversations and measures the result', async () => {
    const out = join(folder, 'run');
    const args = [
      'train',
      'sft',
      '--out',
      out,
      '--model-config',
      join(model, 'config.json'),
      '--tokenizer',
      model,
    ];
    const sizes = ['--tokens-per-step', '200', '--checkpoint-every', '2', '--json'];
    const data = await conversations('data.jsonl');
    const first = await minke([...args, '--data', data, '--steps', '6', ...sizes]);
    expect(first.code).toBe(0);
    expect(JSON.parse(first.out).global_step).toBe(6);
    const log = (await readFile(join(out, 'metrics.jsonl'), 'utf8')).trim().split('\n');
    expect(log.map((line) => JSON.parse(line).global_step)).toEqual([1, 2, 3, 4, 5, 6]);

    const evaluated = await minke([
      'eval',
      join(out, 'model'),
      '--families',
      'products',
      '--count',
      '3',
      '--max-tokens',
      '4',
      '--json',
    ]);
    expect(evaluated.code).toBe(0);
    expect(JSON.parse(evaluated.out)).toMatchObject({
      total: { n: 3, correct: 0 },
      families: { products: { n: 3 } },
    });
    const table = await minke([
      'eval',
      join(out, 'model'),
      '--families',
      'products',
      '--count',
      '2',
      '--max-tokens',
      '4',
    ]);
    expect(table.out).toContain('pass@1');
  });

  it('trains an adapter, merges it, and refuses it for another base', async () => {
    const out = join(folder, 'adapter-run');
    const data = ['--data', await conversations('adapter.jsonl'), '--tokens-per-step', '200'];
    const steps = ['--steps', '4', '--learning-rate', '0.02', '--warmup', '0', '--json'];
    const train = ['train', 'sft', '--out', out, '--init-from', model, ...data, ...steps];
    const wrong = await minke([...train, '--lora-r', '4', '--lora-target', 'k_proj']);
    expect(wrong.code).toBe(1);
    expect(wrong.err).toMatch(/lora: expected targets among self_attn\.q_a_proj.*got k_proj/);
    const trained = await minke([...train, '--lora-r', '4', '--lora-target', 'all-linear']);
    expect(trained.code, trained.err).toBe(0);
    expect(JSON.parse(trained.out).global_step).toBe(4);
    const adapter = join(out, 'adapter');
    const settings = JSON.parse(await readFile(join(adapter, 'adapter_config.json'), 'utf8'));
    expect(settings).toMatchObject({
      peft_type: 'LORA',
      r: 4,
      lora_alpha: 8,
      base_model_name_or_path: model,
    });
    const merged = join(folder, 'merged');
    const merge = await minke(['merge', model, adapter, '--out', merged, '--dtype', 'f32']);
    expect(merge.code, merge.err).toBe(0);
    const logits = async (of: string) => (await minke(['logits', of, '--ids', '5,9,2', '--json'])).out;
    expect(await logits(merged)).not.toBe(await logits(model));
    const other = await minke(['merge', merged, adapter, '--out', join(folder, 'twice')]);
    expect(other.code).toBe(1);
    expect(other.err).toContain('adapter of another base');
  });

  it('names the line of a data file that is wrong', async () => {
    const data = join(folder, 'wrong.jsonl');
    await writeFile(data, '{"messages": []}\n');
    const { code, err } = await minke([
      'train',
      'sft',
      '--out',
      join(folder, 'x'),
      '--init-from',
      model,
      '--data',
      data,
    ]);
    expect(code).toBe(1);
    expect(err).toMatch(/^minke: .*wrong\.jsonl.*1.*\n$/);
  });

  it('ends with 130 on an interrupt, with a checkpoint to continue from', async () => {
    const out = join(folder, 'interrupted');
    const args = [
      'train',
      'sft',
      '--out',
      out,
      '--init-from',
      model,
      '--steps',
      '100000',
      '--checkpoint-every',
      '100000',
      '--tokens-per-step',
      '300',
    ];
    const metrics = join(out, 'metrics.jsonl');
    const { code, err } = await minke(args, {
      interruptWhen: () => existsSync(metrics) && statSync(metrics).size > 0,
    });
    expect(code).toBe(130);
    expect(err).toContain('start it again to continue');
    expect(existsSync(join(out, 'checkpoints'))).toBe(true);
  });
});
