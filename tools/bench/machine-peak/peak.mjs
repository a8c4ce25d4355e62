// Measures what the machine can do at most, and describes it, for the share of the limit that every
// benchmark prints. The probe is C++, compiled on the fly; without a compiler the peak is null, with the why.

import { spawnSync } from 'node:child_process';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { compileProbe } from './compile.mjs';

const source = fileURLToPath(new URL('peak.cc', import.meta.url));

/**
 * The multiply-add peak from registers for each thread count, in G operations a second: of f32, or of 8-bit integers.
 *
 * @param {number[]} threadCounts
 * @param {'f32' | 'int8'} [kind]
 * @returns {{ gflops: Record<number, number | null>, why?: string }}
 */
export function measurePeak(threadCounts, kind = 'f32') {
  const probe = compileProbe(source);
  if (probe.why) return { gflops: Object.fromEntries(threadCounts.map((n) => [n, null])), why: probe.why };
  const once = (n) => Number(spawnSync(probe.binary, [String(n), kind], { encoding: 'utf8' }).stdout.trim());
  const run = (n) => Math.max(once(n), once(n), once(n)); // a disturbance can outlast one run
  const gflops = Object.fromEntries(threadCounts.map((n) => [n, run(n)]));
  probe.dispose();
  return { gflops };
}

/** The machine a figure was taken on. */
export function describeMachine() {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
  };
}

/**
 * Watches how busy other processes keep the machine. Call the result at the end of the measurement:
 * `load` is the 1-minute load average then, `busyCoresOfOthers` the mean over the time between.
 *
 * @param {() => number} childSeconds processor time that the measurement's own child processes have used so far
 */
export function watchLoad(childSeconds = () => 0) {
  const busySeconds = () =>
    cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0) / 1000;
  const start = {
    time: performance.now(),
    busy: busySeconds(),
    own: process.cpuUsage(),
    children: childSeconds(),
  };
  return () => {
    const own = process.cpuUsage(start.own);
    const children = childSeconds() - start.children;
    const others = busySeconds() - start.busy - (own.user + own.system) / 1e6 - children;
    const elapsed = (performance.now() - start.time) / 1000;
    return {
      load: Number(loadavg()[0].toFixed(2)),
      busyCoresOfOthers: Number(Math.max(0, others / elapsed).toFixed(2)),
    };
  };
}
