/**
 * What each stage computed: tokens sampled, forwarded without gradient and trained on, and their FLOPs, which compare
 * across machines and are what controls of equal cost are made equal in.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TokenWork } from '@minke/rl-trainer';
import { parseConfig } from '@minke/transformer';
import type { JsonLine } from '../logs/json-lines.ts';
import { attendedKeys, flopsOf, workOf, workSum } from '../logs/token-work.ts';
import { shortNumber } from './words.ts';

export interface ComputeRow extends TokenWork {
  readonly stage: string;
  /** Null where the shape of its model is not known. */
  readonly flops: number | null;
}

/**
 * @param logs lines of each metrics.jsonl of the stage; @param folders where its model may be, the first that has one
 * is taken. Undefined for a stage that computed nothing of the kind.
 */
export function computeRow(
  stage: string,
  logs: readonly (readonly JsonLine[])[],
  folders: readonly string[],
): ComputeRow | undefined {
  const work = workOf(logs);
  if (work.sampled + work.forwarded + work.trained === 0) return undefined;
  for (const folder of folders) {
    const text = textOf(join(folder, 'model', 'config.json'));
    if (text !== undefined)
      return {
        stage,
        ...work,
        flops: flopsOf(work, parseConfig(JSON.parse(text) as Record<string, unknown>)),
      };
  }
  return { stage, ...work, flops: null };
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (problem) {
    if ((problem as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw problem;
  }
}

export const computeHeader = ['stage', 'tokens sampled', 'forwarded', 'trained', 'TFLOP'] as const;

/** Rows of the table, the sum last. */
export function computeCells(rows: readonly ComputeRow[]): readonly (readonly string[])[] {
  const count = (tokens: number) => (tokens === 0 ? '–' : shortNumber(tokens));
  const line = ({ stage, sampled, forwarded, trained, flops }: ComputeRow) => [
    stage,
    ...[sampled, forwarded, trained].map(count),
    flops === null ? '–' : (flops / 1e12).toPrecision(3),
  ];
  const all = {
    stage: 'all',
    ...workSum(rows),
    flops: rows.reduce((sum, { flops }) => sum + (flops ?? 0), 0),
  };
  return [...rows, all].map(line);
}

/** How the table is to be read. */
export const computeNote =
  'Forwarded: without gradient beside sampling (prompts, references). FLOPs: 2 for each active parameter and token of a ' +
  `forward pass, three times that for trained tokens, attention over ${attendedKeys} keys a token; measurements are not counted.`;
