/**
 * Rejection sampling: several samples of each prompt from a policy, of which the good ones become training data
 * (DeepSeek-R1, https://arxiv.org/abs/2501.12948, section 2.3.3).
 *
 * The run's folder gets `kept.jsonl` (a kept sample a line, with the token ids it was sampled as, so that training
 * sees exactly those), `metrics.jsonl` (a batch of prompts a line) and `rejection.json` (counts by reason and by
 * kind, and how far the run is). Each batch has its own seed. After a kill the files are cut back to the last
 * complete batch and go on from there to the same bytes, with a sampler that gives equal samples to equal seeds.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { flush } from '@minke/checkpoints/files';
import { MinkeError, Random } from '@minke/core';
import { writeAtomically } from './atomic-file.ts';
import type { Sampler } from './interfaces.ts';
import type { KeptSample } from './kept-samples.ts';
import { MetricsLog } from './metrics-log.ts';
import { ProgressLine } from './progress.ts';
import {
  type Candidate,
  type RejectionPrompt,
  type SelectionOptions,
  selectCandidates,
} from './rejection-selection.ts';

/** Settings of the sampling. Plain data. */
export interface RejectionConfig {
  readonly samplesPerPrompt: number;
  /** Prompts of one batch: the unit of progress. */
  readonly promptsPerBatch: number;
  /** Most samples kept of one prompt. */
  readonly keepPerPrompt: number;
  readonly maxNewTokens: number;
  /** Above 0. */
  readonly temperature: number;
  /** In (0, 1]. */
  readonly topP: number;
  /** 0 for all. */
  readonly topK: number;
  readonly seed: number;
}

/** Four samples of each prompt at temperature 1, of which one is kept. */
export const defaultRejection: RejectionConfig = {
  samplesPerPrompt: 4,
  promptsPerBatch: 64,
  keepPerPrompt: 1,
  maxNewTokens: 256,
  temperature: 1,
  topP: 1,
  topK: 0,
  seed: 0,
};

/** Counts of one kind of prompts. */
export interface RejectionYield {
  readonly prompts: number;
  readonly sampled: number;
  readonly kept: number;
  /** Prompts with at least one kept sample. */
  readonly solved: number;
}

/** What a run did so far; `rejection.json`. */
export interface RejectionSummary {
  /** Batches done, and of all. */
  readonly batch: number;
  readonly batches: number;
  readonly sampled: number;
  readonly kept: number;
  /** Tokens sampled. */
  readonly tokens: number;
  /** How many samples each reason rejected. */
  readonly reasons: Readonly<Record<string, number>>;
  readonly kinds: Readonly<Record<string, RejectionYield>>;
}

/** One line of `metrics.jsonl`; each reason has its `rejected/{reason}` beside these. */
export interface RejectionMetrics {
  readonly batch: number;
  readonly sampled: number;
  readonly kept: number;
  readonly yield: number;
  readonly 'completions/mean_length': number;
  readonly num_tokens: number;
}

export interface RejectionOptions extends Pick<SelectionOptions, 'filters' | 'keyOf'> {
  readonly sampler: Sampler;
  readonly prompts: readonly RejectionPrompt[];
  readonly config: RejectionConfig;
  /** Ids that end a completion. */
  readonly stopTokenIds: readonly number[];
  /** Text of a completion; its stop token is left out before. */
  readonly decode: (tokens: readonly number[]) => string;
  /** For the files; an earlier run in it is continued. */
  readonly folder: string;
  readonly onBatch?: (metrics: RejectionMetrics) => void;
  /** Draw a progress line on stderr. */
  readonly progress?: boolean;
  /** Ends the run between batches; rejects with `aborted`. */
  readonly signal?: AbortSignal;
}

/** What a continuation needs besides the summary. */
interface RejectionState extends RejectionSummary {
  readonly keptBytes: number;
  readonly metricsBytes: number;
  readonly config: RejectionConfig;
  /** Hash of the prompts, which a continuation must share. */
  readonly prompts: string;
}

/**
 * Samples all prompts and keeps what passes. Resolves with the counts; a complete run is only read.
 * Throws `invalid-config` for bad settings or another run's folder, `aborted` after the signal.
 *
 * @example
 * const wrong = ({ text, prompt }) => (verify(text, prompt.task.answer) ? null : 'wrong');
 * const { kept } = await rejectionSample({
 *   sampler, prompts, stopTokenIds, decode, folder: 'runs/rejection', config: defaultRejection, filters: [unfinished, wrong],
 * });
 */
export async function rejectionSample(options: RejectionOptions): Promise<RejectionSummary> {
  const { config, prompts, folder, signal } = options;
  validate(options);
  mkdirSync(folder, { recursive: true });
  const statePath = join(folder, 'rejection.json');
  let state = startingState(statePath, options);
  const kept = new MetricsLog(join(folder, 'kept.jsonl'), state.keptBytes);
  const log = new MetricsLog(join(folder, 'metrics.jsonl'), state.metricsBytes);
  const bar = options.progress ? new ProgressLine(state.batches, state.batch) : undefined;
  try {
    for (let batch = state.batch; batch < state.batches; batch++) {
      if (signal?.aborted)
        throw new MinkeError(
          'aborted',
          `rejectionSample: stopped after batch ${batch} of ${state.batches}; start it again to continue`,
        );
      const part = prompts.slice(batch * config.promptsPerBatch, (batch + 1) * config.promptsPerBatch);
      const trial = await tryPrompts(part, batch, options);
      for (const { candidate, reason } of trial) if (reason === null) kept.append(keptRow(candidate));
      const metrics = metricsOf(batch, trial);
      log.append({ ...metrics });
      flush(join(folder, 'kept.jsonl'));
      state = { ...advanced(state, trial), keptBytes: kept.bytes, metricsBytes: log.bytes };
      writeAtomically(statePath, `${JSON.stringify(state, null, 2)}\n`);
      options.onBatch?.(metrics);
      bar?.update(batch + 1, `kept ${state.kept} of ${state.sampled}`);
    }
  } finally {
    kept.close();
    log.close();
  }
  const { keptBytes: _kept, metricsBytes: _metrics, config: _config, prompts: _prompts, ...summary } = state;
  return summary;
}

interface Trial {
  readonly candidate: Candidate;
  readonly reason: string | null;
}

async function tryPrompts(
  part: readonly RejectionPrompt[],
  batch: number,
  options: RejectionOptions,
): Promise<Trial[]> {
  const { sampler, config, stopTokenIds, decode, signal, filters, keyOf } = options;
  const { samplesPerPrompt, maxNewTokens, temperature, topP, topK, keepPerPrompt } = config;
  const request = {
    prompts: part.map(({ tokens }) => tokens),
    samplesPerPrompt,
    maxNewTokens,
    temperature,
    topP,
    topK,
    stopTokenIds,
    seed: new Random(config.seed, batch).uint32(),
  };
  const samples = await sampler.sample(request, signal);
  const trials = part.map(async (prompt, p) => {
    const own = samples.filter((sample) => sample.prompt === p);
    const candidates = own.map(({ tokens, finish, policyVersion }, sample): Candidate => {
      const stopped = finish === 'stop' && stopTokenIds.includes(tokens.at(-1) as number);
      return {
        prompt,
        sample,
        tokens,
        text: decode(stopped ? tokens.slice(0, -1) : tokens),
        finish,
        policyVersion,
      };
    });
    const reasons = await selectCandidates(candidates, { filters, keepPerPrompt, ...(keyOf && { keyOf }) });
    return candidates.map((candidate, i) => ({ candidate, reason: reasons[i] as string | null }));
  });
  return (await Promise.all(trials)).flat();
}

function keptRow({ prompt, sample, tokens, text }: Candidate): Record<string, unknown> {
  const row: KeptSample = {
    id: prompt.id,
    kind: prompt.kind,
    sample,
    prompt: prompt.text,
    completion: text,
    prompt_tokens: prompt.tokens,
    completion_tokens: tokens,
  };
  return { ...prompt.task, ...row };
}

function metricsOf(batch: number, trial: readonly Trial[]): RejectionMetrics {
  const kept = trial.filter(({ reason }) => reason === null).length;
  const tokens = trial.reduce((n, { candidate }) => n + candidate.tokens.length, 0);
  const rejected = Object.entries(histogram({}, trial)).map(([reason, n]) => [`rejected/${reason}`, n]);
  return {
    batch: batch + 1,
    sampled: trial.length,
    kept,
    yield: kept / trial.length,
    'completions/mean_length': tokens / trial.length,
    num_tokens: tokens,
    ...Object.fromEntries(rejected),
  };
}

/** The counts with a batch's added; names in a fixed order, so that files do not depend on chance. */
function histogram(
  before: Readonly<Record<string, number>>,
  trial: readonly Trial[],
): Record<string, number> {
  const counts = new Map(Object.entries(before));
  for (const { reason } of trial) if (reason !== null) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function advanced(state: RejectionState, trial: readonly Trial[]): RejectionState {
  const kinds = new Map(Object.entries(state.kinds));
  const solved = new Set<RejectionPrompt>();
  const met = new Set<RejectionPrompt>();
  for (const { candidate, reason } of trial) {
    const { prompt } = candidate;
    const before = kinds.get(prompt.kind) ?? { prompts: 0, sampled: 0, kept: 0, solved: 0 };
    kinds.set(prompt.kind, {
      prompts: before.prompts + (met.has(prompt) ? 0 : 1),
      sampled: before.sampled + 1,
      kept: before.kept + (reason === null ? 1 : 0),
      solved: before.solved + (reason === null && !solved.has(prompt) ? 1 : 0),
    });
    met.add(prompt);
    if (reason === null) solved.add(prompt);
  }
  return {
    ...state,
    batch: state.batch + 1,
    sampled: state.sampled + trial.length,
    kept: state.kept + trial.filter(({ reason }) => reason === null).length,
    tokens: state.tokens + trial.reduce((n, { candidate }) => n + candidate.tokens.length, 0),
    reasons: histogram(state.reasons, trial),
    kinds: Object.fromEntries([...kinds].sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

function startingState(path: string, { config, prompts }: RejectionOptions): RejectionState {
  const hash = createHash('sha256');
  for (const prompt of prompts) hash.update(`${JSON.stringify(prompt)}\n`);
  const fresh: RejectionState = {
    batch: 0,
    batches: Math.ceil(prompts.length / config.promptsPerBatch),
    sampled: 0,
    kept: 0,
    tokens: 0,
    reasons: {},
    kinds: {},
    keptBytes: 0,
    metricsBytes: 0,
    config,
    prompts: hash.digest('hex'),
  };
  if (!existsSync(path)) return fresh;
  const saved = JSON.parse(readFileSync(path, 'utf8')) as RejectionState;
  if (JSON.stringify(saved.config) !== JSON.stringify(config) || saved.prompts !== fresh.prompts)
    throw new MinkeError(
      'invalid-config',
      `rejectionSample: ${path} is of a run with ${saved.prompts === fresh.prompts ? 'other settings' : 'other prompts'}; use another folder`,
    );
  return saved;
}

function validate({ config, prompts, stopTokenIds }: RejectionOptions): void {
  const problems: string[] = [];
  const whole = ['samplesPerPrompt', 'promptsPerBatch', 'keepPerPrompt', 'maxNewTokens'] as const;
  for (const name of whole)
    if (!Number.isSafeInteger(config[name]) || config[name] < 1)
      problems.push(`${name} a positive integer, got ${config[name]}`);
  if (!(config.temperature > 0) || !Number.isFinite(config.temperature))
    problems.push(`temperature above 0, got ${config.temperature}`);
  if (!(config.topP > 0 && config.topP <= 1)) problems.push(`topP in (0, 1], got ${config.topP}`);
  if (!Number.isSafeInteger(config.topK) || config.topK < 0)
    problems.push(`topK an integer of at least 0, got ${config.topK}`);
  if (!Number.isSafeInteger(config.seed) || config.seed < 0)
    problems.push(`seed an integer of at least 0, got ${config.seed}`);
  if (stopTokenIds.length === 0) problems.push('stopTokenIds with one id or more, got none');
  if (prompts.length === 0) problems.push('one prompt or more, got none');
  const ids = new Set<string>();
  for (const { id, tokens } of prompts) {
    if (ids.has(id)) problems.push(`each id once, got ${id} twice`);
    if (tokens.length === 0) problems.push(`token ids in prompt ${id}, got none`);
    ids.add(id);
    if (problems.length > 8) break;
  }
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `rejectionSample: expected ${problems.join('; ')}`);
}
