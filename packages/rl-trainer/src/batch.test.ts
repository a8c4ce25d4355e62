import { describe, expect, it } from 'vitest';
import { averagingMatrix, packExamples } from './batch.ts';

describe('packExamples', () => {
  const batch = packExamples([
    { ids: Int32Array.of(5, 6, 7, 8), completionStart: 2 },
    { ids: Int32Array.of(9, 4), completionStart: 1 },
  ]);

  it('supervises completions only, each token from the row before it', () => {
    expect(Array.from(batch.supervisedRows)).toEqual([1, 2, 4]);
    expect(Array.from(batch.targets)).toEqual([7, 8, 4]);
  });

  it('keeps examples apart', () => {
    expect(Array.from(batch.ranges)).toEqual([0, 1, 0, 2, 0, 3, 0, 4, 4, 5, 4, 6]);
    expect(Array.from(batch.positions)).toEqual([0, 1, 2, 3, 0, 1]);
    expect(Array.from(averagingMatrix(batch.starts))).toEqual([
      0.25, 0.25, 0.25, 0.25, 0, 0, 0, 0, 0, 0, 0.5, 0.5,
    ]);
  });

  it('refuses an example without a completion', () => {
    expect(() => packExamples([{ ids: Int32Array.of(1, 2), completionStart: 2 }])).toThrow(
      'a prompt and a completion',
    );
  });
});
