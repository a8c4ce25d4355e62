// `pnpm bench curves [--quick] [--only PATTERN]`: how the cost of a token grows, beside what the planner says. Prompts of
// 1,024 to 16,384 tokens, decoding behind 1,024 to 32,768, and 8 to 256 experts of which six are active, on models of
// DeepSeek's shape with few layers, in 4 and 8 bits.
//
// The planner's time is its FLOPs over the machine's multiply-add rates (of 8-bit integers for products with weights, of
// f32 for attention) plus the bytes of a pass over the bandwidth of memory (all measured in this run), times one factor
// that makes it right at the first point of a curve: so `ratio`, its time over ours, says how the cost grows, and is 1 at
// that point. `within` is whether it is within 15 %. Decoding with more
// experts should cost nothing: those points are beside the first one whose weights exceed four times the last-level cache,
// since smaller ones come from there.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  cacheBytesPerToken,
  decodeFlopsPerToken,
  promptFlops,
  weightBytes,
} from '../../../packages/cost-planner/dist/index.js';
import { bytesOfStep, curveShapes, expertCounts } from '../generation/shapes.mjs';
import { ggufOf } from '../generation/write-gguf.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { Report } from '../harness/report.mjs';
import { startNode } from '../harness/side.mjs';
import { compileProbe } from '../machine-peak/compile.mjs';
import { measurePeak } from '../machine-peak/peak.mjs';

const threads = 2;
const chunk = 512;
/** How far a point may be from the planner. */
const margin = 0.15;
/** Bytes of a cached number. */
const cachedBytes = 4;
const storage = { Q4_0: 'q4_0', Q8_0: 'q8_0' };
const prompts = quick ? [1024, 4096] : [1024, 4096, 16384, 32768];
const longestPrompt = 16384;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const report = new Report('curves', [threads]);
const rates = {
  attention: report.gflops(threads) * 1e9,
  products: measurePeak([threads], 'int8').gflops[threads] * 1e9,
};
const bandwidth = measureBandwidth();
for (const type of Object.keys(storage)) {
  await contexts(type);
  await experts(type);
}
report.finish();

/** One prompt, stopped at each length to decode behind it. */
async function contexts(type) {
  const name = (phase, tokens) => `${type} ${phase} ${tokens} ${threads}t`;
  const points = prompts.filter(
    (tokens) => wanted(name('prefill', tokens)) || wanted(name('decode', tokens)),
  );
  if (points.length === 0) return;
  const side = await start('curve-context', type, points);
  if (side.why) return report.add({ case: name('prefill', points[0]), unit: 'tok/s', why: side.why });
  const { config } = side.details;
  const prefill = curve((tokens) => {
    const pieces = tokens / chunk;
    const cache = cacheBytesPerToken(config, cachedBytes) * chunk * ((pieces * (pieces + 1)) / 2);
    const flops = promptFlops(config, { tokens, chunk });
    return plannedSeconds(flops, pieces * readBytes(config, type) + cache);
  });
  const decode = curve((tokens) =>
    plannedSeconds(
      {
        products: decodeFlopsPerToken(config, 0),
        attention: decodeFlopsPerToken(config, tokens) - decodeFlopsPerToken(config, 0),
      },
      bytesOfStep(curveShapes['curve-context'], type, 0, 1) +
        tokens * cacheBytesPerToken(config, cachedBytes),
    ),
  );
  for (const tokens of points) {
    const { prefillSeconds, decodeSeconds } = await side.measure(tokens);
    if (tokens <= longestPrompt && wanted(name('prefill', tokens)))
      row(name('prefill', tokens), tokens, prefillSeconds, prefill(tokens, prefillSeconds));
    if (wanted(name('decode', tokens)))
      row(name('decode', tokens), 1, decodeSeconds, decode(tokens, decodeSeconds));
  }
  await side.end();
}

/** The same prompt and steps behind it, with more and more experts. */
async function experts(type) {
  const name = (phase, count) => `${type} ${phase} of ${count} experts ${threads}t`;
  const tokens = chunk;
  const lastLevel = lastLevelBytes();
  const prefill = curve(({ config }) =>
    plannedSeconds(promptFlops(config, { tokens, chunk }), readBytes(config, type)),
  );
  const decode = curve(() => 1);
  for (const count of quick ? [8, 64, 128] : expertCounts) {
    if (!wanted(name('prefill', count)) && !wanted(name('decode', count))) continue;
    const side = await start(`curve-experts-${count}`, type, [tokens]);
    if (side.why) return report.add({ case: name('prefill', count), unit: 'tok/s', why: side.why });
    const { config } = side.details;
    const { prefillSeconds, decodeSeconds } = await side.measure(tokens);
    await side.end();
    const bytes = readBytes(config, type);
    const far = bytes > 4 * lastLevel;
    row(name('prefill', count), tokens, prefillSeconds, prefill({ config }, prefillSeconds));
    const planned = far ? decode(null, decodeSeconds) : null;
    row(name('decode', count), 1, decodeSeconds, planned, `${Math.round(bytes / 1e6)} MB of weights`);
  }
}

/** Bytes of all weights but the table, of which a pass reads some rows. */
function readBytes(config, type) {
  return weightBytes(config, storage[type]) - 2 * config.vocabSize * config.hiddenSize;
}

function plannedSeconds({ products, attention }, bytes) {
  return products / rates.products + attention / rates.attention + bytes / bandwidth;
}

/** A curve's planned seconds, times what makes the first one the measured one; null without a compiler for the limits. */
function curve(planned) {
  let factor = null;
  return (point, measured) => {
    if (!(rates.products > 0 && rates.attention > 0 && bandwidth > 0)) return null;
    factor ??= measured / planned(point);
    return factor * planned(point);
  };
}

function row(name, work, seconds, planned, note) {
  const ratio = planned === null ? null : planned / seconds;
  report.add({
    ...{ case: name, unit: 'tok/s', ours: work / seconds, peer: planned === null ? null : work / planned },
    ...{
      peerName: planned === null ? null : 'planner',
      ratio,
      oursMilliseconds: milliseconds(seconds, work),
    },
    ...(ratio === null ? {} : { within: Math.abs(ratio - 1) <= margin }),
    ...(note === undefined ? {} : { note }),
  });
}

/** Of one token. */
function milliseconds(seconds, work) {
  return Number(((1000 * seconds) / work).toPrecision(3));
}

function start(model, type, points) {
  const file = ggufOf(model, type, here(`../generation/node_modules/.models/${model}-${type}.gguf`));
  const maxTokens = points.at(-1) + 64;
  return startNode(new URL('ours.mjs', import.meta.url), {
    ...{ file, quantize: storage[type], threads, chunk, maxTokens },
  });
}

function lastLevelBytes() {
  try {
    return 1024 * Number.parseInt(readFileSync('/sys/devices/system/cpu/cpu0/cache/index3/size', 'utf8'), 10);
  } catch {
    return 32 << 20;
  }
}

/** Bytes a second that the threads read; null without a compiler. */
function measureBandwidth() {
  const built = compileProbe(here('../machine-peak/bandwidth.cc'));
  if (built.why) return null;
  const { stdout } = spawnSync(built.binary, [String(threads), '256'], { encoding: 'utf8' });
  built.dispose();
  return Number(stdout.trim()) * 1e9;
}
