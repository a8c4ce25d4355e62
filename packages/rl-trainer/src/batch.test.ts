import { describe, expect, it } from 'vitest';
import { packExamples } from './batch.ts';

describe('packExamples', () => {
  const batch = packExamples([
    { ids: Int32Array.of(5, 6, 7, 8), completionStart: 2 },
    { ids: Int32Array.of(9, 4), completionStart: 1 },
  ]);

  it('supervises completions only, each token from the row before it', () => {
    expect(Array.from(batch.supervisedRows)).toEqual([1, 2, 4]);
    expect(Array.from(batch.targets)).toEqual([7, 8, 4]);
  });

  it('keeps the order of examples', () => {
    expect(batch.sequences).toEqual([
      [5, 6, 7, 8],
      [9, 4],
    ]);
    expect(batch.rows).toBe(6);
  });

  it('refuses an example without a completion', () => {
    expect(() => packExamples([{ ids: Int32Array.of(1, 2), completionStart: 2 }])).toThrow(
      'a prompt and a completion',
    );
  });
});
