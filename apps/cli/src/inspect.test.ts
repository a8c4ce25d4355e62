/** `minke inspect` of the built command: folders, files, and models on a hub, of which only headers may be read. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { StandInHub } from '@minke/checkpoints/hub/testing';
import { countParameters } from '@minke/cost-planner';
import { modelFolder } from '@minke/tiny-reasoner';
import { presets, readConfig } from '@minke/transformer';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fitsIn } from './inspect/machine-fit.ts';
import type { InspectReport } from './inspect/report.ts';
import { kindOf } from './inspect/tensor-groups.ts';
import { expectBuilt, runMinke } from './testing/run-minke.ts';

// A llama in Q8_0, written by tools/parity/gguf_language.py.
const gguf = fileURLToPath(new URL('../../../packages/inference/fixtures/tiny.gguf', import.meta.url));
const id = 'someone/tiny';
let hub: StandInHub;
let home: string;
beforeAll(async () => {
  expectBuilt();
  hub = await StandInHub.start();
  home = mkdtempSync(join(tmpdir(), 'minke-inspect-'));
});
afterAll(async () => {
  await hub.close();
  rmSync(home, { recursive: true });
});
beforeEach(() => {
  hub.requests.length = 0;
});

const minke = (args: readonly string[]) =>
  runMinke(['inspect', ...args], {
    cwd: home,
    env: { HF_ENDPOINT: hub.endpoint, HF_HOME: home, HF_TOKEN: '', HF_HUB_CACHE: '', HF_HUB_OFFLINE: '' },
  });

async function inspect(...args: string[]): Promise<InspectReport> {
  const { code, out, err } = await minke([...args, '--json']);
  expect([code, err]).toEqual([0, '']);
  return JSON.parse(out);
}

/** The embedded model's files, as someone would publish them. */
const published = () =>
  Object.fromEntries(
    readdirSync(modelFolder)
      .filter((name) => statSync(join(modelFolder, name)).isFile())
      .map((name) => [name, readFileSync(join(modelFolder, name))]),
  );

/** What a report says of the model itself, wherever it lies. */
const facts = ({ name: _, hub: __, machine: { fits, tokens }, weights, ...rest }: InspectReport) => ({
  ...{ ...rest, fits: fits.map(({ needed }) => needed), tokens },
  weights: {
    ...weights,
    files: weights.files.length,
    tensors: weights.tensors?.map(({ file: _, ...row }) => row),
  },
});

describe('a folder', () => {
  it('is counted from its configuration and its headers, which agree', async () => {
    const report = await inspect(modelFolder, '--tensors');
    const config = await readConfig(modelFolder);
    const { total, active } = countParameters(config);
    expect(report.parameters).toEqual({ total, active, mtp: 0 });
    expect(report.weights.groups.reduce((sum, { numbers }) => sum + numbers, 0)).toBe(total);
    expect(report.weights.groups.reduce((sum, { tensors }) => sum + tensors, 0)).toBe(
      report.weights.tensors?.length,
    );
    expect(report).toMatchObject({
      ...{ architecture: 'deepseek_v3', format: 'safetensors', hub: null, context: config.maxPositions },
      ...{ cacheBytesPerToken: { f32: 1920, bf16: 960 }, tokenizer: 'tokenizer.json' },
      template: 'tokenizer_config.json',
    });
    expect(await inspect(join(modelFolder, 'model.safetensors'), '--tensors')).toMatchObject({
      weights: report.weights,
    });
  });

  it('of rounded weights is counted in the numbers that they stand for, without their scales', async () => {
    const numbers = ({ weights: { groups } }: InspectReport) =>
      groups.reduce((sum, group) => sum + group.numbers, 0);
    const fp8 = await inspect(
      fileURLToPath(new URL('../../../packages/transformer/fixtures/fp8-v3', import.meta.url)),
    );
    expect(Object.keys(fp8.weights.dtypes)).toContain('F8_E4M3');
    expect(numbers(fp8)).toBe(fp8.parameters.total);
    const out = join(home, 'q4');
    const quantized = await runMinke(['quantize', modelFolder, '--type', 'q4_0', '--out', out], {
      cwd: home,
    });
    expect(quantized.code, quantized.err).toBe(0);
    const blocks = await inspect(out);
    expect(Object.keys(blocks.weights.dtypes)).toContain('U8');
    expect(numbers(blocks)).toBe(blocks.parameters.total);
  });

  it('is told in a table', async () => {
    const { code, out } = await minke([modelFolder]);
    expect(code).toBe(0);
    expect(out).toMatch(/^parameters {4}4,557,736 \(4\.56M\), active 2,345,896 \(2\.35M\)$/m);
    expect(out).toMatch(/^expert +120 +2,949,120 +5\.9 MB +BF16$/m);
    expect(out).toMatch(/^q4_0 .* yes$/m);
    expect(out).not.toContain('model.layers.0');
    expect((await minke([modelFolder, '--tensors'])).out).toMatch(
      /^model\.layers\.0\.mlp\.down_proj\.weight +BF16 +\[192, 512\] +197 kB$/m,
    );
  });
});

describe('a GGUF file', () => {
  it('shows its types, tokenizer and template', async () => {
    const report = await inspect(gguf);
    expect(report).toMatchObject({
      ...{ architecture: 'llama', format: 'gguf', tokenizer: 'gpt2, smollm, 260 tokens' },
      ...{ template: 'tokenizer.chat_template', context: 256, cacheBytesPerToken: { f32: 256, bf16: 128 } },
    });
    expect(Object.keys(report.weights.dtypes).sort()).toEqual(['F32', 'Q8_0']);
    expect(report.weights.groups.map(({ kind }) => kind)).toEqual([
      ...['embedding', 'norm', 'attention', 'feed-forward'],
    ]);
  });
});

describe('a model on a hub', () => {
  it('is what its folder is, and nothing of it is kept', async () => {
    const commit = hub.add(id, { files: published() });
    const remote = await inspect(id, '--tensors');
    expect(remote.hub).toMatchObject({ id, commit });
    expect(remote.name).toBe(`${id}@${commit.slice(0, 8)}`);
    expect(remote.hub?.received).toBeLessThan(400_000); // of 9 MB
    expect(existsSync(join(home, 'hub'))).toBe(false);
    expect(facts(remote)).toEqual(facts(await inspect(modelFolder, '--tensors')));
    expect(hub.leaks).toBe(0);
  });

  it('may hold several GGUF files, of which one is named', async () => {
    hub.add(id, { files: { 'tiny.Q8_0.gguf': readFileSync(gguf), 'sub/other.gguf': readFileSync(gguf) } });
    const { code, err } = await minke([id]);
    expect(code).toBe(1);
    expect(err).toMatch(
      /^minke: someone\/tiny: expected one model, got 2 GGUF files; name one with --file: .*\n$/,
    );
    const remote = await inspect(id, '--file', 'sub/other.gguf');
    expect(facts(remote)).toEqual(facts(await inspect(gguf)));
    hub.add(id, { files: { 'tiny.Q8_0.gguf': readFileSync(gguf) } });
    expect((await inspect(id)).weights.files).toEqual(['tiny.Q8_0.gguf']);
  });

  it('that is in the cache is read there, unless its weights are not', async () => {
    const commit = hub.add(id, { files: published() });
    const cached = async (include: readonly string[]) =>
      runMinke(['pull', id, '--include', ...include], {
        cwd: home,
        env: { HF_ENDPOINT: hub.endpoint, HF_HOME: join(home, 'b'), HF_TOKEN: '' },
      });
    const there = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(home, 'b'), HF_TOKEN: '', HF_HUB_CACHE: '' };
    const report = async () =>
      JSON.parse((await runMinke(['inspect', id, '--json'], { cwd: home, env: there })).out) as InspectReport;
    expect((await cached(['*.json'])).code).toBe(0);
    expect((await report()).hub).not.toBeNull();
    expect((await cached(['*'])).code).toBe(0);
    const local = await report();
    expect([local.hub, local.name.endsWith(commit)]).toEqual([null, true]);
  });
});

describe('wrong input', () => {
  const folderOf = (name: string, files: Record<string, string>) => {
    mkdirSync(join(home, name), { recursive: true });
    for (const [path, text] of Object.entries(files)) writeFileSync(join(home, name, path), text);
  };

  it.each<[string, string[], number, RegExp]>([
    [
      'a path that does not exist',
      ['/no/such'],
      2,
      /^error: expected a model folder.*\/no\/such does not exist/,
    ],
    ['no model', [], 2, /^error: missing required argument/],
    [
      'a context beyond that of the model',
      [modelFolder, '--context', '513'],
      2,
      /^error: --context: expected at most 512/,
    ],
    ['a context of nothing', [modelFolder, '--context', '0'], 2, /positive integer/],
    [
      'a file that the folder has not',
      [modelFolder, '--file', 'x.gguf'],
      2,
      /^error: expected a file x\.gguf in/,
    ],
    ['a model that the hub has not', ['nobody/nothing'], 1, /^minke: nobody\/nothing: .* no such model/],
    [
      'a file that the hub has not',
      [id, '--file', 'x.gguf'],
      1,
      /^minke: someone\/tiny: expected a file x\.gguf/,
    ],
    ['a folder without a configuration', ['empty'], 1, /^minke: expected config\.json in empty/],
    ['a configuration that is none', ['broken'], 1, /^minke: config\.json of broken: expected JSON/],
    ['another architecture', ['gemma'], 1, /^minke: config: expected model_type .* got "gemma"/],
    [
      'a folder without weights',
      ['weightless'],
      1,
      /^minke: openCheckpoint.*found neither model\.safetensors/,
    ],
    ['weights that are a page', ['page'], 1, /^minke: openSafetensors.*this is a web page/],
    ['a GGUF file that is none', ['none.gguf'], 1, /^minke: openGguf\(none\.gguf\): expected a GGUF file/],
    [
      'a model of pickles on the hub',
      ['someone/pickles'],
      1,
      /expected model\.safetensors or a \.gguf file, but it has pyt/,
    ],
  ])('%s', async (_, args, code, message) => {
    hub.add(id, { files: published() });
    hub.add('someone/pickles', { files: { 'pytorch_model.bin': new Uint8Array(9) } });
    const config = readFileSync(join(modelFolder, 'config.json'), 'utf8');
    folderOf('empty', {});
    folderOf('broken', { 'config.json': '{' });
    folderOf('gemma', { 'config.json': '{"model_type": "gemma"}' });
    folderOf('weightless', { 'config.json': config });
    folderOf('page', { 'config.json': config, 'model.safetensors': '<!doctype html><html></html>' });
    writeFileSync(join(home, 'none.gguf'), 'GG');
    const run = await minke(args);
    expect([run.code, run.out]).toEqual([code, '']);
    expect(run.err).toMatch(message);
    expect(run.err.trimEnd()).not.toContain('\n');
  });
});

it('fits where weights, cache and program do', () => {
  const memory = { total: 32e9, free: 12e9 };
  const fits = fitsIn(memory, presets['DeepSeek-V2-Lite'], 4096);
  expect(fits.map(({ storage, fits: answer }) => [storage, answer])).toEqual([
    ['f32', 'no'],
    ['bf16', 'if others end'],
    ['q8_0', 'if others end'],
    ['q4_0', 'yes'],
  ]);
  expect(fits.map(({ weights, needed }) => needed - weights)).toEqual(Array(4).fill(4096 * 62_208 + 300e6));
});

it('knows every tensor of every family by its name', () => {
  const names: Readonly<Record<string, string>> = {
    'token_embd.weight': 'embedding',
    'output.weight': 'head',
    'output_norm.weight': 'norm',
    'blk.3.attn_kv_a_norm.weight': 'norm',
    'blk.3.ffn_gate_inp.weight': 'gate',
    'blk.3.exp_probs_b.bias': 'gate',
    'blk.3.ffn_up_exps.weight': 'expert',
    'blk.3.ffn_up_shexp.weight': 'shared expert',
    'blk.3.attn_k_b.weight': 'attention',
    'blk.0.ffn_gate.weight': 'feed-forward',
    'model.layers.3.mlp.experts.7.up_proj.weight_scale_inv': 'expert',
    'model.layers.3.self_attn.indexer.wk.weight': 'indexer',
    'model.layers.61.embed_tokens.weight': 'MTP module',
    'merging.inflator.weight': 'merging',
    'rope_freqs.weight': 'other',
  };
  for (const [name, kind] of Object.entries(names)) expect([name, kindOf(name, 61)]).toEqual([name, kind]);
});
