// The child's half of a comparison (`side.mjs` is the parent's): a process that measures one case. It says what it
// is in its first line, then answers each line `{"calls": n}` with the seconds that n calls took, the most
// memory it ever had resident, and the processor time it has used. It ends with its standard input.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setFlagsFromString } from 'node:v8';
import {
  createNative,
  createWasm,
  hasRelaxedSimd,
  nativeAvailable,
} from '../../../packages/gpu-backends/dist/cpu/index.js';

/** The case that the parent asks for. */
export function readCase() {
  return JSON.parse(process.argv[2]);
}

/**
 * Says the name and the numbers that must agree between the sides, then measures on request.
 *
 * @param {{ name: string, check?: number[], details?: object, before?: () => unknown, call?: () => unknown,
 *   measure?: (calls: number) => Promise<number | { seconds: number }> }} side
 *   `call` is what is timed and `before` what comes before each; they may be async. Or `measure` makes so many calls and
 *   gives the seconds they took, and other figures if it will. `details` are what else the parent should know
 */
export async function serve({ name, check = [], details = {}, before, call, measure = timed(before, call) }) {
  say({ name, check, details, cpu: cpuSeconds() });
  for await (const line of createInterface({ input: process.stdin })) {
    const { calls } = JSON.parse(line);
    const measured = await measure(calls);
    say({
      ...(typeof measured === 'number' ? { seconds: measured } : measured),
      megabytes: peakMegabytes(),
      resident: process.memoryUsage.rss() / 1e6,
      cpu: cpuSeconds(),
    });
  }
  process.exit(0);
}

function timed(before, call) {
  return async (calls) => {
    let seconds = 0;
    for (let i = 0; i < calls; i++) {
      if (before) await before();
      const start = performance.now();
      await call();
      seconds += (performance.now() - start) / 1000;
    }
    return seconds;
  };
}

/** Ends a side that cannot run here, with the reason. */
export function refuse(why) {
  say({ why });
  process.exit(0);
}

/** Our native backend with so many threads; refuses where there is none. */
export async function nativeBackend(threads) {
  const { available, reason } = nativeAvailable();
  return available ? createNative({ threads }) : refuse(reason);
}

/** Our backend of a build: `native`, `wasm` (SIMD128) or `wasm-relaxed`, which Node 20 has behind a flag. */
export async function backendOf({ build = 'native', threads }) {
  if (build === 'native') return nativeBackend(threads);
  const instructionSet = build === 'wasm-relaxed' ? 'relaxed-simd' : 'simd128';
  if (build === 'wasm-relaxed' && !hasRelaxedSimd()) setFlagsFromString('--experimental-wasm-relaxed-simd');
  const backend = await createWasm({ threads, instructionSet });
  return backend.info.threads === threads ? backend : refuse(backend.info.reason);
}

function cpuSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function say(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** The largest resident set so far. Linux's counter of `getrusage` starts with the parent's, this one does not. */
function peakMegabytes() {
  if (process.platform === 'linux') {
    const [, kibibytes] = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'));
    return (Number(kibibytes) * 1024) / 1e6;
  }
  return (process.resourceUsage().maxRSS * 1024) / 1e6;
}
