// One side of a comparison: a child process that answers JSON lines, ours (`serve.mjs`) or a peer's. A process a
// side and case makes its peak memory its own and keeps one's threads, spinning or asleep, out of the other's heap.

import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

let spent = 0;

/** Processor time that sides have used, for telling the load of others. */
export function cpuSecondsOfSides() {
  return spent;
}

/** Starts a Node script as a side. */
export function startNode(script, wish) {
  return startSide(process.execPath, [fileURLToPath(script), JSON.stringify(wish)], wish.threads);
}

/**
 * Starts a module of tools/bench/python as a side. Python is `MINKE_PYTHON`, or else python3 on the PATH; `wish.preload`
 * is a library to load into it.
 */
export function startPython(module, wish) {
  const python = process.env.MINKE_PYTHON ?? 'python3';
  if (spawnSync(python, ['--version']).status !== 0)
    return { why: `no Python: ${python} does not start; set MINKE_PYTHON to one that has torch` };
  const script = fileURLToPath(new URL('../python/peer.py', import.meta.url));
  const extra = wish.preload ? { LD_PRELOAD: wish.preload } : {};
  return startSide(python, [script, module, JSON.stringify(wish)], wish.threads, extra);
}

/** The same in the fastest of the module's variants, which it measures first in a process of its own. */
export async function startFastest(module, wish) {
  const chosen = await startPython(module, { ...wish, choose: true });
  if (chosen.why) return chosen;
  await chosen.end();
  return startPython(module, { ...wish, variant: chosen.choice });
}

/**
 * Starts a command as a side and waits for its first line.
 *
 * @returns {Promise<{ name: string, check: number[], measure(calls: number): Promise<{ seconds: number,
 *   megabytes: number }>, end(): Promise<void> } | { why: string }>}
 */
export async function startSide(command, args, threads, extraEnvironment = {}) {
  const env = { ...environment(threads), ...extraEnvironment };
  const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
  const errors = [];
  child.stderr.on('data', (chunk) => errors.push(chunk));
  child.stdin.on('error', () => {}); // a side that died is reported by the line it does not answer
  const ended = new Promise((done) => {
    child.on('error', () => done('it does not start'));
    child.on('close', (code, signal) => done(`it ended with ${signal ?? `exit code ${code}`}`));
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let counted = 0;
  const answer = async () => {
    const { value, done } = await lines.next();
    if (!done) {
      const { cpu = counted, ...message } = JSON.parse(value);
      spent += cpu - counted;
      counted = cpu;
      return message;
    }
    const last = Buffer.concat(errors).toString('utf8').trim().split('\n').at(-1);
    return { why: `${await ended}${last ? `: ${last}` : ''}` };
  };
  const first = await answer();
  if (first.why) {
    child.kill();
    return { why: first.why };
  }
  const measure = async (calls) => {
    child.stdin.write(`${JSON.stringify({ calls })}\n`);
    const result = await answer();
    if (result.why) throw new Error(`bench: ${first.name}: ${result.why}`);
    return result;
  };
  const end = async () => {
    child.stdin.end();
    await ended;
  };
  return { ...first, measure, end };
}

/** The surroundings' BLAS tuning would slow a peer down; each library chooses for itself. */
function environment(threads) {
  const kept = Object.entries(process.env).filter(([name]) => !/^(OPENBLAS|OMP|MKL|GOMP|KMP)_/.test(name));
  const count = String(threads);
  return { ...Object.fromEntries(kept), OMP_NUM_THREADS: count, OPENBLAS_NUM_THREADS: count };
}
