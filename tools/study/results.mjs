// Results of a study: read from their files, put together over seeds, compared with each other and with the floors.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bootstrapRatio, compareBitsPerByte } from '../../packages/evaluation/dist/index.js';
import { arms } from './arms.mjs';

/** The results of a folder by arm, each arm's by seed; throws for files that are none. */
export function readResults(folder) {
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : [];
  const found = names.map((name) => {
    const path = join(folder, name);
    let result;
    try {
      result = JSON.parse(readFileSync(path, 'utf8'));
    } catch (cause) {
      throw new Error(`${path}: expected a result of the study, got ${cause.message}`);
    }
    if (!arms.some(({ name: arm }) => arm === result.arm) || !Number.isSafeInteger(result.seed))
      throw new Error(`${path}: expected a result of an arm of the study, got ${result.arm}`);
    return result;
  });
  const kinds = new Set(found.map(({ setting }) => setting));
  if (kinds.size > 1)
    throw new Error(`${folder}: expected results of one setting, got ${[...kinds].join(', ')}`);
  return new Map(
    arms
      .map(({ name }) => [name, found.filter(({ arm }) => arm === name).sort((a, b) => a.seed - b.seed)])
      .filter(([, of]) => of.length > 0),
  );
}

/** Documents of several runs, each with its mean over them. */
export function meanDocuments(runs) {
  const [first] = runs;
  return first.documents.map((document, i) => ({
    ...document,
    bits: mean(runs.map(({ documents }) => documents[i].bits)),
  }));
}

/** Bits per byte of an arm: the mean over seeds, its interval over documents, and each seed's own. */
export function bitsOf(runs) {
  const documents = meanDocuments(runs);
  return {
    ...bootstrapRatio(
      documents.map(({ bits }) => bits),
      documents.map(({ bytes }) => bytes),
    ),
    seeds: runs.map(({ bitsPerByte }) => bitsPerByte.value),
  };
}

/**
 * Bits per byte of arm b minus those of arm a over the seeds of both: the interval is over documents, each with its mean
 * over these seeds; `seeds` are the differences one by one, which say what a seed is good for.
 *
 * @returns null without a seed of both
 */
export function difference(results, a, b) {
  const [left, right] = [a, b].map((name) => results.get(name) ?? []);
  const shared = left.map(({ seed }) => seed).filter((seed) => right.some((run) => run.seed === seed));
  if (shared.length === 0) return null;
  const of = (runs) => shared.map((seed) => runs.find((run) => run.seed === seed));
  const [before, after] = [of(left), of(right)];
  return {
    ...compareBitsPerByte(meanDocuments(before), meanDocuments(after)),
    relative: bitsOf(after).value / bitsOf(before).value - 1,
    base: bitsOf(before).value,
    seeds: after.map(({ bitsPerByte }, i) => bitsPerByte.value - before[i].bitsPerByte.value),
  };
}

/** How far realised compressions may be apart to be called equal. */
const sameCompression = 0.05;

/**
 * The floors: what each asks, whether it holds, and the numbers; `holds` is null where runs are missing.
 * A better arm has its whole interval below zero, and every seed.
 */
export function floors(results) {
  const better = (claim, arm, than) => {
    const found = difference(results, than, arm);
    if (found === null) return { claim, holds: null, why: `needs runs of ${arm} and ${than}` };
    const [own, other] = [arm, than].map((name) => compressionOf(results.get(name)));
    const unequal = Math.abs(own / other - 1) > sameCompression;
    const holds = found.high < 0 && found.seeds.every((one) => one < 0) && !unequal;
    const apart = unequal ? `; compression differs: ${own.toFixed(2)} and ${other.toFixed(2)}` : '';
    return { claim, holds, why: `${signed(found)}${apart}` };
  };
  return [
    better('ours at 2x is better than random boundaries', 'ours-2', 'random-2'),
    better('ours at 2x is better than a fixed stride', 'ours-2', 'stride-2'),
    better('inflation at 2x is better than copying back', 'ours-2', 'ours-2-copy'),
    better('inflation at 1.5x is better than copying back', 'ours-1.5', 'ours-1.5-copy'),
    nearPlain(results, 'plain', 'unmerged'),
    nearPlain(results, 'plain-conv', 'unmerged with the convolution'),
  ];
}

function nearPlain(results, plain, name) {
  const claim = `at 1.5x at most 1 % more bits per byte than ${name} at equal FLOPs, or fewer`;
  const found = difference(results, plain, 'ours-1.5');
  if (found === null) return { claim, holds: null, why: `needs runs of ${plain} and ours-1.5` };
  return {
    claim,
    holds: found.high <= 0.01 * found.base,
    why: `${signed(found)}, ${percent(found.relative)}`,
  };
}

/** A difference as text. */
export function signed({ value, low, high, seeds }) {
  const text = (number) => `${number < 0 ? '-' : '+'}${Math.abs(number).toFixed(4)}`;
  const each = seeds.length > 1 ? `; seeds ${seeds.map(text).join(', ')}` : '';
  return `${text(value)} (${text(low)} to ${text(high)})${each}`;
}

export const percent = (share) => `${share < 0 ? '-' : '+'}${Math.abs(100 * share).toFixed(2)} %`;

/** Tokens an entry on the test documents, the mean over runs. */
export const compressionOf = (runs) => mean(runs.map(({ compression }) => compression));

export const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
