import { readFileSync } from 'node:fs';
import { openSafetensors } from '@minke/checkpoints';
import type { Backend } from '@minke/core';
import { Arena, affine, crossEntropy, sum } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import type { DeepSeekModel, ForwardOptions } from './deepseek.ts';
import { loadModel } from './load.ts';
import { createLora, type LoraConfig, loraModules } from './lora.ts';
import { loadLora } from './lora-files.ts';
import { publishedTensors } from './names.ts';
import { distance, fastBackend, fixtureFolder, otherBackends, readExpected } from './testing/fixtures.ts';

const base = (backend: Backend) => loadModel(fixtureFolder('gradients-v3-block'), { backend });
const everything: LoraConfig = { r: 4, alpha: 8, targets: ['all-linear'] };

function logitsOf(
  model: DeepSeekModel,
  sequences: readonly (readonly number[])[],
  options: ForwardOptions = {},
): number[] {
  using arena = new Arena(model.backend);
  return Array.from(model.forward(model.batch(arena, sequences), options).logits.readSync());
}

const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((n, v) => n + v * v, 0));

describe.each([fastBackend, ...otherBackends].map((backend) => [backend.info.name, backend] as const))(
  'an adapter on %s',
  (_, backend) => {
    it("has PyTorch's logits, loss and gradients of every A and B, and leaves no gradient on the base", async () => {
      const model = await base(backend);
      const adapted = model.withLora(await loadLora(model, fixtureFolder('lora-v3-block')));
      const expected = await readExpected('lora-v3-block');
      using arena = new Arena(backend, { grad: true });
      const { logits } = adapted.forward(adapted.batch(arena, expected.sequences));
      expect(distance(logits.readSync(), expected.logits)).toBeLessThan(1e-4);
      const targets = expected.sequences.flatMap((sequence) => [...sequence.slice(1), -1]);
      const losses = crossEntropy(logits, arena.tensor(targets, [targets.length], 'i32'));
      const loss = affine(sum(losses), 1 / targets.filter((id) => id >= 0).length, 0);
      const facts = JSON.parse(readFileSync(`${fixtureFolder('lora-v3-block')}/expected.json`, 'utf8'));
      expect(loss.readSync()[0]).toBeCloseTo(facts.loss, 5);
      loss.backward();
      const file = await openSafetensors(`${fixtureFolder('lora-v3-block')}/expected.safetensors`);
      let [compared, worst] = [0, 0];
      for (const { name, target } of publishedTensors(model.config)) {
        const pair = adapted.lora!.pairs.get(target.name.replace(/\.weight$/, ''));
        if (pair === undefined) continue;
        for (const [letter, { grad }] of [['A', pair.a] as const, ['B', pair.b] as const]) {
          const exact = await file.readFloat32(name.replace(/weight$/, `lora_${letter}.weight`));
          const start = (target.expert ?? 0) * exact.length;
          const values = grad!.readSync().slice(start, start + exact.length);
          const error = norm(Array.from(values, (v, i) => v - exact[i]!)) / norm(exact);
          expect(error, name).toBeLessThan(1e-5);
          worst = Math.max(worst, error);
          compared++;
        }
      }
      await file.close();
      expect(compared).toBe(80);
      for (const [name, parameter] of model.parameters()) expect(parameter.grad, name).toBeNull();
      console.log(
        `lora-v3-block on ${backend.info.name}: ${compared} gradients, worst ${worst.toExponential(1)}`,
      );
    });

    it('that is new changes no bit of the base, in either form of attention', async () => {
      const model = await base(backend);
      const { sequences } = await readExpected('lora-v3-block');
      // The reference backend rounds once in its fused experts; the kernels round as the products apart do.
      const exact = backend.info.name === 'reference' ? ['attention'] : ['attention', 'all-linear'];
      for (const targets of [...exact, 'q_a_proj', 'kv_b_proj'].map((target) => [target])) {
        const adapted = model.withLora(createLora(model, { ...everything, targets }));
        for (const form of ['expanded', 'absorbed'] as const)
          expect(logitsOf(adapted, sequences, { form }), `${targets} ${form}`).toEqual(
            logitsOf(model, sequences, { form }),
          );
      }
      const adapted = model.withLora(createLora(model, everything));
      expect(distance(logitsOf(adapted, sequences), logitsOf(model, sequences))).toBeLessThan(1e-5);
    });

    it('gives both forms of attention the same logits to rounding', async () => {
      const model = await base(backend);
      const adapted = model.withLora(await loadLora(model, fixtureFolder('lora-v3-block')));
      const { sequences } = await readExpected('lora-v3-block');
      const [expanded, absorbed] = (['expanded', 'absorbed'] as const).map((form) =>
        logitsOf(adapted, sequences, { form }),
      );
      expect(distance(expanded!, absorbed!)).toBeLessThan(1e-4);
    });

    it('gives a sequence the same bits alone and in a batch', async () => {
      const model = await base(backend);
      const adapted = model.withLora(await loadLora(model, fixtureFolder('lora-v3-block')));
      const { sequences } = await readExpected('lora-v3-block');
      const together = logitsOf(adapted, sequences);
      const apart = sequences.flatMap((sequence) => logitsOf(adapted, [sequence]));
      expect(apart).toEqual(together);
    });
  },
);

describe('createLora', () => {
  it('begins with A uniform in +-1 / sqrt(in), the same for the same seed, and B zero', async () => {
    const model = await base(fastBackend);
    const [one, same, other] = [1, 1, 2].map((seed) => createLora(model, everything, { seed }));
    const name = 'model.layers.0.mlp.down_proj';
    const [a, b] = [one!.pairs.get(name)!.a.readSync(), one!.pairs.get(name)!.b.readSync()];
    const bound = 1 / Math.sqrt(75);
    expect(Math.max(...a.map(Math.abs))).toBeLessThanOrEqual(bound);
    expect(Math.max(...a.map(Math.abs))).toBeGreaterThan(0.9 * bound);
    expect(a.some((v) => v < 0) && a.some((v) => v > 0)).toBe(true);
    expect(b.every((v) => v === 0)).toBe(true);
    expect(same!.pairs.get(name)!.a.readSync()).toEqual(a);
    expect(other!.pairs.get(name)!.a.readSync()).not.toEqual(a);
  });

  it('scales by alpha / r, or alpha / sqrt(r) with rslora', async () => {
    const model = await base(fastBackend);
    const scale = (config: LoraConfig) => [...createLora(model, config).pairs.values()][0]!.scale;
    expect(scale(everything)).toBe(2);
    expect(scale({ ...everything, rslora: true })).toBe(4);
  });

  it('takes the modules that targets name, by their ends', async () => {
    const model = await base(fastBackend);
    const names = (...targets: string[]) => [...createLora(model, { ...everything, targets }).pairs.keys()];
    expect(names('o_proj')).toEqual([0, 1].map((l) => `model.layers.${l}.self_attn.o_proj`));
    expect(names('layers.1.self_attn.o_proj', 'layers.0.self_attn.o_proj')).toEqual(names('o_proj'));
    expect(names('experts.up_proj')).toEqual(['model.layers.1.mlp.experts.up_proj']);
    expect(names('up_proj')).toHaveLength(3);
    expect(names('attention')).toHaveLength(10);
    expect(names('all-linear')).toEqual([...loraModules(model.config).keys()]);
  });

  it('names all that is wrong with a configuration', async () => {
    const model = await base(fastBackend);
    const refused = (config: Partial<LoraConfig>) => {
      try {
        createLora(model, { ...everything, ...config });
      } catch (problem) {
        return problem as { code: string; message: string };
      }
      throw new Error('nothing was wrong');
    };
    const bad = refused({ r: 0, alpha: -1, targets: ['k_proj', 'gate'] });
    expect(bad.code).toBe('invalid-config');
    expect(bad.message).toMatch(/r a positive integer, got 0; alpha a number above 0, got -1/);
    expect(bad.message).toMatch(/targets among self_attn\.q_a_proj, .*all-linear, got k_proj; .*got gate/);
    expect(refused({ targets: [] }).message).toMatch(/at least one target/);
    expect(refused({ r: 14 }).message).toMatch(
      /r of at most 13 for model\.layers\.1\.mlp\.experts\.gate_proj \[8, 13, 52\], got 14/,
    );
    for (const target of ['embed_tokens', 'lm_head', 'q_a_layernorm', 'mlp.gate', 'attention.o_proj'])
      expect(refused({ targets: [target] }).message).toContain(`got ${target}`);
  });

  it('fits no model of another shape', async () => {
    const model = await base(fastBackend);
    const other = await loadModel(fixtureFolder('v3-base'), { backend: fastBackend });
    const lora = createLora(other, { ...everything, targets: ['o_proj'] });
    expect(() => model.withLora(lora)).toThrow(
      /withLora: expected matrices \[4, 42\] and \[52, 4\] for .*o_proj/,
    );
  });
});
