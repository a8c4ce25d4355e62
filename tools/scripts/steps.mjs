// How runs of several steps are counted and reported.

/** `N passed, M failed`, with `, K skipped` when there are any. */
export function countLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/** The counts of a step that is one check. */
export function passOrFail(passed) {
  return { passed: passed ? 1 : 0, failed: passed ? 0 : 1, skipped: 0 };
}

/** The counts on the last line of a step's output, or undefined if it does not end with such a line. */
export function parseCountLine(output) {
  const lastLine = output.trimEnd().split('\n').at(-1) ?? '';
  const match = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/.exec(lastLine.trim());
  if (!match) return undefined;
  return { passed: Number(match[1]), failed: Number(match[2]), skipped: Number(match[3] ?? 0) };
}

export function secondsSince(start) {
  return (performance.now() - start) / 1000;
}
