import { execFileSync } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors, type TensorData, writeSafetensors } from '@minke/checkpoints';
import { Random } from '@minke/core';
import { Arena } from '@minke/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DeepSeekModel } from './deepseek.ts';
import { loadModel, publishedWeights, saveModel } from './load.ts';
import { createLora, type Lora, type LoraConfig } from './lora.ts';
import { loadLora, saveLora } from './lora-files.ts';
import { distance, fastBackend, fixtureFolder, readExpected } from './testing/fixtures.ts';
import { hasPython } from './testing/python.ts';

const backend = fastBackend;
const load = (name = 'gradients-v3-block') => loadModel(fixtureFolder(name), { backend });
let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'minke-lora-'));
});
afterAll(() => rm(root, { recursive: true }));

/** An adapter whose B is not zero. */
function trained(model: DeepSeekModel, config: LoraConfig, seed = 5): Lora {
  const lora = createLora(model, config, { seed });
  const random = new Random(seed);
  for (const { b } of lora.pairs.values())
    b.write(Float32Array.from({ length: b.size }, () => 0.2 * random.normal()));
  return lora;
}

function logitsOf(
  model: DeepSeekModel,
  sequences: readonly (readonly number[])[] = [[5, 9, 2, 71]],
): Float32Array {
  using arena = new Arena(backend);
  return Float32Array.from(model.forward(model.batch(arena, sequences)).logits.readSync());
}

async function tensorsOf(folder: string): Promise<Map<string, TensorData>> {
  const file = await openSafetensors(join(folder, 'adapter_model.safetensors'));
  const tensors = new Map<string, TensorData>();
  for (const [key, { dtype, shape }] of file.tensors)
    tensors.set(key, { dtype, shape, data: await file.read(key) });
  await file.close();
  return tensors;
}

const configOf = async (folder: string) =>
  JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;

describe('a saved adapter', () => {
  it.each([
    ['all-linear', false],
    ['attention', true],
    ['experts.up_proj', false],
  ])('of %s comes back to the same bytes', async (target, rslora) => {
    const model = await load();
    const adapted = model.withLora(trained(model, { r: 3, alpha: 5, targets: [target], rslora }));
    const [first, second] = [join(root, `${target}-1`), join(root, `${target}-2`)];
    await saveLora(adapted, first, { base: 'someone/base' });
    const again = model.withLora(await loadLora(await load(), first));
    expect(logitsOf(again)).toEqual(logitsOf(adapted));
    await saveLora(again, second, { base: 'someone/base' });
    for (const file of ['adapter_config.json', 'adapter_model.safetensors'])
      expect(
        Buffer.compare(await readFile(join(first, file)), await readFile(join(second, file))),
        file,
      ).toBe(0);
  });

  it("has PEFT's names, one pair for each expert", async () => {
    const model = await load();
    const folder = join(root, 'names');
    await saveLora(model.withLora(trained(model, { r: 3, alpha: 8, targets: ['all-linear'] })), folder);
    const [ours, theirs] = [await tensorsOf(folder), await tensorsOf(fixtureFolder('lora-v3-block'))];
    const shapes = (tensors: Map<string, TensorData>) =>
      [...tensors].map(([key, { shape }]) => [key, shape]).sort();
    expect(shapes(ours)).toEqual(shapes(theirs));
    expect(await configOf(folder)).toMatchObject({
      peft_type: 'LORA',
      r: 3,
      lora_alpha: 8,
      target_modules: [
        'down_proj',
        'gate_proj',
        'kv_a_proj_with_mqa',
        'kv_b_proj',
        'o_proj',
        'q_a_proj',
        'q_b_proj',
        'up_proj',
      ],
    });
  });

  it('names modules in full where the last part of the name would reach others too', async () => {
    const model = await load();
    const folder = join(root, 'partial');
    await saveLora(
      model.withLora(trained(model, { r: 2, alpha: 2, targets: ['layers.1.self_attn.o_proj', 'q_b_proj'] })),
      folder,
    );
    expect((await configOf(folder)).target_modules).toEqual(['model.layers.1.self_attn.o_proj', 'q_b_proj']);
  });

  it.each([
    ['attention', ['attention']],
    ['routed experts', ['experts.gate_proj', 'experts.up_proj', 'experts.down_proj']],
  ])(
    'of %s loads in PEFT and gives the same logits',
    async (name, targets) => {
      const folder = join(root, `peft-${name}`);
      const model = await load();
      const adapted = model.withLora(trained(model, { r: 4, alpha: 6, targets }));
      await saveLora(adapted, folder);
      const { sequences } = await readExpected('lora-v3-block');
      await writeSafetensors(join(folder, 'expected.safetensors'), {
        input_ids: { dtype: 'I32', shape: [2, 32], data: Int32Array.from(sequences.flat()) },
        logits: { dtype: 'F32', shape: [2, 32, model.config.vocabSize], data: logitsOf(adapted, sequences) },
      });
      const script = fileURLToPath(new URL('../../../tools/parity/check_lora.py', import.meta.url));
      if (!hasPython('torch', 'transformers', 'peft')) return;
      const output = execFileSync('python3', [script, fixtureFolder('gradients-v3-block'), folder], {
        encoding: 'utf8',
      });
      const result = JSON.parse(output) as Record<string, number>;
      expect(result).toMatchObject({ passed: true });
      console.log(`adapter of ${name} in PEFT: largest difference ${result.largestDifference}`);
    },
    120_000,
  );

  it('merges into a model folder with its logits', async () => {
    const model = await load();
    const adapted = model.withLora(await loadLora(model, fixtureFolder('lora-v3-block')));
    const folder = join(root, 'merged');
    await saveModel(adapted, folder, { dtype: 'f32' });
    const merged = await loadModel(folder, { backend });
    const { sequences } = await readExpected('lora-v3-block');
    expect(distance(logitsOf(merged, sequences), logitsOf(adapted, sequences))).toBeLessThan(1e-4);
    expect(distance(logitsOf(merged, sequences), logitsOf(model, sequences))).toBeGreaterThan(1);
    const untouched = publishedWeights(adapted).get('model.embed_tokens.weight')!
      .data as () => Promise<Uint8Array>;
    const source = publishedWeights(model).get('model.embed_tokens.weight')!
      .data as () => Promise<Uint8Array>;
    expect(await untouched()).toEqual(await source());
  });
});

describe('loadLora', () => {
  /** A copy of a good adapter with something changed. */
  async function changed(
    name: string,
    change: { config?: Record<string, unknown>; tensors?: (all: Map<string, TensorData>) => void },
  ): Promise<string> {
    const folder = join(root, `bad-${name}`);
    await cp(fixtureFolder('lora-v3-block'), folder, { recursive: true });
    const config = { ...(await configOf(folder)), ...change.config };
    await writeFile(join(folder, 'adapter_config.json'), JSON.stringify(config));
    if (change.tensors) {
      const tensors = await tensorsOf(folder);
      change.tensors(tensors);
      await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
    }
    return folder;
  }
  const refusal = async (folder: string, model?: DeepSeekModel) => {
    const problem = await loadLora(model ?? (await load()), folder).catch((e: unknown) => e);
    return problem as { code: string; message: string };
  };
  const key = 'base_model.model.model.layers.0.self_attn.o_proj.lora_A.weight';

  it('names every matrix that is missing, unknown or of another shape', async () => {
    const folder = await changed('tensors', {
      tensors(all) {
        const data = new Float32Array(4 * 42);
        all.set(key, { dtype: 'F32', shape: [4, 42], data });
        all.delete(key.replace('layers.0', 'layers.1'));
        all.set('base_model.model.lm_head.lora_A.weight', { dtype: 'F32', shape: [4, 42], data });
      },
    });
    const { code, message } = await refusal(folder);
    expect(code).toBe('invalid-file');
    expect(message).toMatch(/layers\.0\.self_attn\.o_proj\.lora_A\.weight is \[4, 42\] instead of \[3, 42\]/);
    expect(message).toMatch(/layers\.1\.self_attn\.o_proj\.lora_A\.weight is missing/);
    expect(message).toMatch(/lm_head\.lora_A\.weight belongs to no module of this model/);
  });

  it('refuses what is not plain LoRA, and ranks that cannot be', async () => {
    const cases: [Record<string, unknown>, string, RegExp][] = [
      [{ peft_type: 'IA3' }, 'unsupported', /peft_type LORA, got IA3/],
      [{ use_dora: true, bias: 'all' }, 'unsupported', /bias none, got all; no use_dora, got true/],
      [{ rank_pattern: { o_proj: 8 } }, 'unsupported', /no rank_pattern/],
      [{ modules_to_save: ['lm_head'] }, 'unsupported', /no modules_to_save/],
      [{ r: 0 }, 'invalid-config', /r a positive integer, got 0/],
      [{ r: 4 }, 'invalid-file', /is \[3, \d+\] instead of \[4, \d+\].*and 72 more/],
      [{ lora_alpha: 0 }, 'invalid-config', /alpha a number above 0, got 0/],
    ];
    for (const [i, [config, code, message]] of cases.entries()) {
      const problem = await refusal(await changed(`config-${i}`, { config }));
      expect(problem).toMatchObject({ code, message: expect.stringMatching(message) });
    }
    expect(await refusal(join(root, 'nowhere'))).toMatchObject({ code: 'invalid-file' });
  });

  it('recognises an adapter of another base, of the same shape or not', async () => {
    const model = await load();
    const folder = join(root, 'base');
    await saveLora(model.withLora(trained(model, { r: 2, alpha: 2, targets: ['attention'] })), folder);
    model.parameters().get('model.norm.weight')!.write(new Float32Array(52).fill(2));
    const same = await refusal(folder, model);
    expect(same).toMatchObject({
      code: 'invalid-file',
      message: expect.stringMatching(/adapter of another base/),
    });
    const other = await refusal(fixtureFolder('lora-v3-block'), await load('v3-base'));
    expect(other).toMatchObject({ code: 'invalid-file', message: expect.stringMatching(/instead of/) });
  });

  it('takes the bf16 copy of a base for the base', async () => {
    const model = await load();
    const [folder, copy] = [join(root, 'of-f32'), join(root, 'bf16')];
    await saveLora(model.withLora(trained(model, { r: 2, alpha: 2, targets: ['o_proj'] })), folder);
    await saveModel(model, copy, { dtype: 'bf16' });
    const lora = await loadLora(await loadModel(copy, { backend }), folder);
    expect(lora.pairs.size).toBe(2);
  });
});
