/**
 * For tests: the real server, `minke serve`, in a process of its own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../../cli/dist/main.js', import.meta.url));

/** The built engine worker, for tests that run the server in their own process. */
export const workerScript: URL = new URL('../../dist/engine-worker.js', import.meta.url);

/** Throws unless the packages are built. */
export function assertBuilt(): void {
  const missing = [program, fileURLToPath(workerScript)].filter((file) => !existsSync(file));
  if (missing.length > 0)
    throw new Error(
      `these tests run the built server, and ${missing.join(', ')} is not there; build it with "pnpm build" (npm test does)`,
    );
}

export interface ServerProcess {
  readonly url: string;
  readonly process: ChildProcess;
  /** From spawning to the line `listening on`. */
  readonly startMs: number;
  /** Everything written to standard error so far. */
  readonly errors: () => string;
  /** Sends a signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<{ code: number | null; ms: number }>;
}

/** Starts `minke serve <args>` on a free port and waits until it can answer. */
export async function startServer(args: readonly string[]): Promise<ServerProcess> {
  assertBuilt();
  const started = performance.now();
  const child = spawn(process.execPath, [program, 'serve', '--port', '0', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      const found = /^listening on (http:\/\/127\.0\.0\.1:\d+)$/m.exec(output);
      if (found) resolve(found[1] as string);
    });
    ended.then((code) => reject(new Error(`minke serve ended with code ${code}: ${errors}`)));
  });
  return {
    url,
    process: child,
    startMs: performance.now() - started,
    errors: () => errors,
    async stop(signal = 'SIGTERM') {
      const begin = performance.now();
      child.kill(signal);
      const code = await ended;
      return { code, ms: performance.now() - begin };
    },
  };
}

/** The load that `/health` tells. */
export async function loadOf(url: string): Promise<{ status: string; running: number; waiting: number }> {
  const response = await fetch(`${url}/health`);
  return (await response.json()) as { status: string; running: number; waiting: number };
}

/** Waits until `condition` holds, at most ten seconds. */
export async function eventually(condition: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until the engine has no request left. */
export function idle(url: string): Promise<void> {
  return eventually(async () => {
    const { running, waiting } = await loadOf(url);
    return running === 0 && waiting === 0;
  }, 'an engine without requests');
}
