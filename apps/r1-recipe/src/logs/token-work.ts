/**
 * What a stage of training computed, whatever the machine: tokens sampled, computed without gradient and trained on, by
 * its logs, and the floating-point operations that these are for a model's shape.
 *
 * FLOPs by the formulas of `@minke/cost-planner`: 2 for each active parameter (the input embedding apart) and token of a
 * forward pass, three times that with gradient, and attention over `attendedKeys` keys. Optimiser steps and rewards,
 * the prompts of rejection sampling and measurements are not counted.
 */
import { join } from 'node:path';
import { forwardFlopsPerToken } from '@minke/cost-planner';
import type { TokenWork } from '@minke/rl-trainer';
import type { ModelConfig } from '@minke/transformer';
import { type JsonLine, readJsonLines } from './json-lines.ts';
import { logFolders } from './stage-logs.ts';

/** Keys that a token attends to in the count: the mean of sequences of 128 tokens. */
export const attendedKeys = 64;

/** FLOPs of work on a model. */
export function flopsOf({ sampled, forwarded, trained }: TokenWork, config: ModelConfig): number {
  return (sampled + forwarded + 3 * trained) * forwardFlopsPerToken(config, attendedKeys);
}

/** The work behind all logs in a stage's folder. */
export function stageWork(folder: string): TokenWork {
  return workOf(logFolders(folder).map((log) => readJsonLines(join(folder, log, 'metrics.jsonl'))));
}

/** The work behind logs: lines of `metrics.jsonl`, a list for each model that was trained or sampled. */
export function workOf(logs: readonly (readonly JsonLine[])[]): TokenWork {
  return workSum(logs.map(workOfLog));
}

const none: TokenWork = { sampled: 0, forwarded: 0, trained: 0 };

/** All of it together. */
export function workSum(all: readonly TokenWork[]): TokenWork {
  return all.reduce(
    (sum, work) => ({
      sampled: sum.sampled + work.sampled,
      forwarded: sum.forwarded + work.forwarded,
      trained: sum.trained + work.trained,
    }),
    none,
  );
}

function workOfLog(lines: readonly JsonLine[]): TokenWork {
  const last = lines.at(-1);
  if (last === undefined) return none;
  if (typeof last.num_sampled_tokens === 'number')
    return {
      sampled: last.num_sampled_tokens,
      forwarded: numberIn(last, 'num_forwarded_tokens'),
      trained: numberIn(last, 'num_trained_tokens'),
    };
  if (typeof last.step_time === 'number') return workByClock(lines);
  if (typeof last.sampled === 'number')
    return { ...none, sampled: lines.reduce((sum, line) => sum + numberIn(line, 'num_tokens'), 0) };
  return { ...none, trained: numberIn(last, 'num_tokens') };
}

/** Of logs of reinforcement from before tokens were counted in them: rates times the times they are of are counts. */
function workByClock(lines: readonly JsonLine[]): TokenWork {
  const count = (line: JsonLine, part: string, rate: string) =>
    Math.round(
      numberIn(line, 'step_time') *
        numberIn(line, `time/${part}`) *
        numberIn(line, `throughput/${rate}_tokens_per_second`),
    );
  return workSum(
    lines.map((line) => {
      const trained = count(line, 'update', 'trained');
      // Lines have a KL where a reference computed what was trained on.
      const forwarded = typeof line.kl === 'number' ? trained : 0;
      return { sampled: count(line, 'sampling', 'sampled'), forwarded, trained };
    }),
  );
}

function numberIn(line: JsonLine, name: string): number {
  const value = line[name];
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}
