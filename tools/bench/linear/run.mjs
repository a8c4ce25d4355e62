// `pnpm bench linear [--quick] [--only PATTERN]`: linear layers with weights of 8 and 4 bits, beside onnxruntime-node's
// MatMulNBits of as many bits (blocks of 32, its input rounded to 8 bits as ours is) and beside our own f32.
//
// One row of x and weights larger than any last-level cache: rates are in GB/s of weights, scales included, and the
// share is of the bandwidth that a plain read of the same size reaches with as many threads, measured in the same run.
// 512 rows: GOP/s, and the share is of the f32 multiply-add rate from registers. Our time includes rounding x.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { compare } from '../harness/compare.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { Report } from '../harness/report.mjs';
import { startNode } from '../harness/side.mjs';
import { compileProbe } from '../machine-peak/compile.mjs';

const plan = quick ? { rounds: 5, roundSeconds: 0.1 } : { rounds: 15, roundSeconds: 0.3 };
const threadCounts = [1, 2];
const peers = ['onnxruntime', 'minke-f32'];
/** Bytes of a weight, scales included: ours, and MatMulNBits' with its f32 scales. */
const bytesOf = (bits, numbers) => ({ 8: 34 / 32, 4: 18 / 32, 32: 4 })[bits] * numbers;

const report = new Report('linear', threadCounts);
const bandwidth = measureBandwidth();
for (const bits of [8, 4])
  for (const threads of threadCounts) {
    // 134 million numbers: 143 MB with 8 bits, 75 MB with 4; our f32 has 537 MB.
    const decode = { M: 1, N: 32768, K: 4096, bits, threads };
    await bench(`int${bits} 1x32768x4096`, decode, ({ ours, peer, extra }) => {
      const gigabytes = bytesOf(bits, decode.N * decode.K) / 1e9;
      const share = ours.seconds && bandwidth ? gigabytes / ours.seconds / bandwidth[threads] : null;
      report.addRates({ ...extra, unit: 'GB/s', work: gigabytes, threads, ours, peer, share });
    });
    const prefill = { M: 512, N: 4096, K: 4096, bits, threads };
    await bench(`int${bits} 512x4096x4096`, prefill, ({ ours, peer, extra }) => {
      const flops = 2 * prefill.M * prefill.N * prefill.K;
      report.addRates({ ...extra, unit: 'GOP/s', work: flops / 1e9, flops, threads, ours, peer });
    });
  }
report.finish();

async function bench(shape, wish, add) {
  const nameOf = (peer) => `${shape} ${peer} ${wish.threads}t`;
  const chosen = peers.filter((peer) => wanted(nameOf(peer)));
  if (chosen.length === 0) return;
  const start = (script, more) => () => startNode(new URL(script, import.meta.url), { ...wish, ...more });
  const starts = { onnxruntime: start('onnxruntime.mjs'), 'minke-f32': start('ours.mjs', { bits: 32 }) };
  const sides = Object.fromEntries(chosen.map((peer) => [peer, starts[peer]]));
  const { ours, ...others } = await compare({ ours: start('ours.mjs'), ...sides }, plan);
  for (const peer of chosen) add({ ours, peer: others[peer], extra: { name: nameOf(peer) } });
}

/** GB/s that 1 and 2 threads read, the best of some rounds; null without a compiler. */
function measureBandwidth() {
  const probe = compileProbe(fileURLToPath(new URL('../machine-peak/bandwidth.cc', import.meta.url)));
  if (probe.why) return null;
  const read = (n) => Number(spawnSync(probe.binary, [String(n), '256'], { encoding: 'utf8' }).stdout.trim());
  const rates = Object.fromEntries(threadCounts.map((n) => [n, Math.max(read(n), read(n))]));
  probe.dispose();
  process.stderr.write(`memory read, GB/s: ${threadCounts.map((n) => `${rates[n]} (${n}t)`).join(', ')}\n`);
  return rates;
}
