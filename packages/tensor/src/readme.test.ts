import { expect, test, vi } from 'vitest';

test('the README example runs and finds the line', async () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  await import('../examples/readme.ts');
  const [w, b] = log.mock.calls[0] as [Float32Array, Float32Array];
  expect(w[0]).toBeCloseTo(2, 2);
  expect(w[1]).toBeCloseTo(-1, 2);
  expect(b[0]).toBeCloseTo(0.5, 2);
  log.mockRestore();
});
