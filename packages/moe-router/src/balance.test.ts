import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import {
  communicationBalanceLoss,
  deviceBalanceLoss,
  expertBalanceLoss,
  sequenceBalanceLoss,
  updateBias,
} from './balance.ts';
import { loadStatistics } from './load-statistics.ts';

const arena = (): Arena => new Arena(createReference({ bits: 64 }));

describe('updateBias', () => {
  it('moves each bias by exactly gamma towards even load, and not at all at the mean', () => {
    const step = arena();
    const bias = step.tensor([0, 0.5, -0.25, 1], [4]);
    updateBias(bias, step.tensor([7, 1, 4, 4], [4]), { gamma: 1e-3 });
    expect(Array.from(bias.readSync())).toEqual([-1e-3, 0.501, -0.25, 1]);
  });

  it('keeps the sum of biases in the centred variant', () => {
    const step = arena();
    const bias = step.tensor([0, 0, 0, 0], [4]);
    updateBias(bias, step.tensor([9, 1, 1, 1], [4]), { gamma: 1e-3, centred: true });
    const values = Array.from(bias.readSync());
    expect(values.reduce((a, b) => a + b, 0)).toBeCloseTo(0, 15);
    expect(values[1]).toBeCloseTo(0.5e-3, 15);
  });

  it('refuses a load of another size', () => {
    const step = arena();
    expect(() => updateBias(step.zeros([4]), step.zeros([3]), { gamma: 1 })).toThrow('expected load [4]');
  });
});

describe('balance losses', () => {
  const scores = [
    [0.4, 0.3, 0.2, 0.1],
    [0.1, 0.2, 0.3, 0.4],
    [0.7, 0.1, 0.1, 0.1],
  ];
  const indices = [0, 1, 2, 3, 0, 1];

  it('sequence-wise: hand-computed on two sequences', () => {
    const step = arena();
    const averaging = step.tensor([0.5, 0.5, 0, 0, 0, 1], [2, 3]);
    const loss = sequenceBalanceLoss(step.tensor(scores.flat(), [3, 4]), averaging, { topK: 2, alpha: 0.1 });
    // Sequence 0: f = E/K (1/2, 1/2, 1/2, 1/2) = 1, P sums to 1 -> 1. Sequence 1: f = 2 (1, 1, 0, 0) -> 2 (0.7 + 0.1).
    expect(loss.readSync()[0]).toBeCloseTo((0.1 * (1 + 1.6)) / 2, 12);
  });

  it('expert, device and communication level: hand-computed', () => {
    const step = arena();
    const s = step.tensor(scores.flat(), [3, 4]);
    const chosen = step.tensor(indices, [3, 2], 'i32');
    const P = [1.2 / 3, 0.6 / 3, 0.6 / 3, 0.6 / 3];
    const f = [4 / 3, 4 / 3, 2 / 3, 2 / 3];
    const expert = f.reduce((a, v, i) => a + v * (P[i] as number), 0);
    expect(expertBalanceLoss(s, chosen, { alpha: 1 }).readSync()[0]).toBeCloseTo(expert, 12);
    const device = (4 / 3) * 0.6 + (2 / 3) * 0.4;
    expect(deviceBalanceLoss(s, chosen, { alpha: 1, devices: 2 }).readSync()[0]).toBeCloseTo(device, 12);
    const communication = 2 * ((2 / 3) * 0.6 + (1 / 3) * 0.4);
    expect(
      communicationBalanceLoss(s, chosen, { alpha: 1, devices: 2, topDevices: 1 }).readSync()[0],
    ).toBeCloseTo(communication, 12);
  });
});

describe('loadStatistics', () => {
  it('reports MaxVio, dead experts and perfect balance', () => {
    expect(loadStatistics([4, 4, 4, 4])).toEqual({
      maxVio: 0,
      minShare: 1,
      dead: 0,
      variation: 0,
      entropy: 1,
    });
    const skewed = loadStatistics([8, 4, 0, 4]);
    expect(skewed.maxVio).toBe(1);
    expect(skewed.dead).toBe(1);
  });
});
