/**
 * Runs the built command as a user does, for tests.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** What a run gave. */
export interface Run {
  code: number | null;
  out: string;
  err: string;
}

/** How to run. */
export interface RunOptions {
  readonly cwd: string;
  readonly input?: string;
  readonly env?: object;
  /** Sends SIGINT once this holds. */
  readonly interruptWhen?: () => boolean;
}

/** Throws where the command is not built. */
export function expectBuilt(): void {
  if (!existsSync(program))
    throw new Error(
      `these tests run the built command, and ${program} is not there; build it with "pnpm build" (npm test does)`,
    );
}

/** Runs `minke` to its end. */
export function runMinke(args: readonly string[], options: RunOptions): Promise<Run> {
  const { cwd, input = '', env, interruptWhen } = options;
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [program, ...args], { cwd, env: { ...process.env, ...env } });
    const run: Run = { code: null, out: '', err: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      run.out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      run.err += text;
    });
    const watch = setInterval(() => {
      if (!interruptWhen?.()) return;
      clearInterval(watch);
      child.kill('SIGINT');
    }, 50);
    child.on('close', (code) => {
      clearInterval(watch);
      resolve({ ...run, code });
    });
    child.stdin.end(input);
  });
}
