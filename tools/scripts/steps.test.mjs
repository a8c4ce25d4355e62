// The count line that `npm test` and the CI run end with.

import { expect, it } from 'vitest';
import { countLine, parseCountLine, passOrFail } from './steps.mjs';

it('is plain unless tests were skipped', () => {
  expect(countLine({ passed: 12, failed: 0, skipped: 0 })).toBe('12 passed, 0 failed');
  expect(countLine({ passed: 12, failed: 1, skipped: 2 })).toBe('12 passed, 1 failed, 2 skipped');
});

it('is read back from the end of an output', () => {
  const counts = { passed: 12, failed: 1, skipped: 2 };
  expect(parseCountLine(`3 passed, 0 failed\nmore\n${countLine(counts)}\n\n`)).toEqual(counts);
  expect(parseCountLine('12 passed, 0 failed\r\n')).toEqual({ passed: 12, failed: 0, skipped: 0 });
});

it('is not taken from the middle of an output or of a line', () => {
  expect(parseCountLine('12 passed, 0 failed\ncrashed')).toBeUndefined();
  expect(parseCountLine('tests: 12 passed, 0 failed')).toBeUndefined();
  expect(parseCountLine('')).toBeUndefined();
});

it('counts a check as one', () => {
  expect(passOrFail(true)).toEqual({ passed: 1, failed: 0, skipped: 0 });
  expect(passOrFail(false)).toEqual({ passed: 0, failed: 1, skipped: 0 });
});
