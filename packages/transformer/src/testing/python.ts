/** Python for the tests that compare with libraries which are only there. */
import { execFileSync } from 'node:child_process';

/** Whether Python has these packages; says so when not, and fails in CI. */
export function hasPython(...packages: readonly string[]): boolean {
  const found = packages.map((name) => `f("${name}")`).join(' and ');
  const code = `from importlib.util import find_spec as f; exit(not (${found}))`;
  try {
    execFileSync('python3', ['-c', code], { stdio: 'ignore' });
    return true;
  } catch {
    const needed = `Python with tools/parity/requirements.txt (${packages.join(', ')})`;
    if (process.env.CI) throw new Error(`CI must have ${needed}, and it has not`);
    console.warn(`NOT RUN: exports are checked in other libraries only where there is ${needed}`);
    return false;
  }
}
