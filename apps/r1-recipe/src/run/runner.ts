/**
 * Runs the stages of a recipe in a folder, one after the other, each only when it has to.
 *
 * Outputs are addressed by content, so a changed stage reruns what depends on it and no more, a rerun that gives the
 * same bytes stops the wave, and going back to earlier settings finds the earlier outputs. A run killed at any moment
 * and started again goes on in the same stage folder; the stage itself continues from its own checkpoint.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import { isFull, readJson, writeJson } from './json-file.ts';
import { inputHashes, type PlannedStage, planRun, type Selection, selectStages } from './plan.ts';
import { lockRun } from './run-lock.ts';
import { orderStages, type Stage, type StageContext } from './stage.ts';
import { type DoneRecord, keyParts, StageFolder, type StartedRecord, whatChanged } from './stage-folder.ts';

/** What happens in a run, in order. */
export type RunEvent =
  | { readonly type: 'plan'; readonly plan: readonly PlannedStage[] }
  | {
      readonly type: 'start';
      readonly stage: string;
      readonly folder: string;
      readonly why: string;
      /** Seconds that earlier processes spent on it. */
      readonly spent: number;
    }
  | {
      readonly type: 'progress';
      readonly stage: string;
      readonly done: number;
      readonly total: number;
      readonly text: string;
    }
  | { readonly type: 'log'; readonly stage: string; readonly text: string }
  | {
      readonly type: 'end';
      readonly stage: string;
      readonly folder: string;
      readonly state: 'done' | 'reused' | 'stopped' | 'failed';
      readonly seconds: number;
      /** What went wrong, for `stopped` and `failed`. */
      readonly problem: string | null;
    };

export interface RunnerOptions extends Selection {
  /** Of the run; made if missing. */
  readonly folder: string;
  /** Name of the recipe and its preset; a folder belongs to one. */
  readonly recipe: string;
  readonly seed: number;
  /** As typed, for the records. */
  readonly command: string;
  /** Version of the code, for the report: a commit or a package version. */
  readonly commit: string;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: RunEvent) => void;
}

/** `run.json`: whose the folder is. */
export interface RunRecord {
  readonly recipe: string;
  readonly seed: number;
  readonly command: string;
  readonly commit: string;
}

export interface StageResult {
  readonly stage: string;
  readonly state: 'done' | 'reused';
  readonly folder: string;
  /** Over all processes that worked on it. */
  readonly seconds: number;
  /** Of the outputs. */
  readonly hash: string;
}

/** Seconds between notes of the time a stage has taken. */
const noteEvery = 5;

/**
 * Runs what has to run. Resolves with the wanted stages in their order.
 *
 * Throws `invalid-config` for stages that do not fit together or a folder of another recipe, `invalid-file` for
 * damaged records or outputs, `unsupported` while another process uses the folder, `aborted` after the signal, and
 * what a stage throws, with its name in front.
 */
export async function runStages(
  stages: readonly Stage[],
  options: RunnerOptions,
): Promise<readonly StageResult[]> {
  const { folder: run, seed, onEvent } = options;
  const ordered = orderStages(stages);
  const { wanted, afresh } = selectStages(ordered, options);
  const unlock = lockRun(run);
  try {
    claimFolder(options);
    mkdirSync(join(run, 'stages'), { recursive: true });
    // A forced stage's old record may be damaged: it goes before anything is read.
    const forced = new Set(afresh);
    onEvent?.({ type: 'plan', plan: planRun(stages, options) });
    const results: StageResult[] = [];
    const hashes = new Map<string, string>();
    const folders = new Map<string, string>();
    for (const stage of ordered.filter(({ name }) => wanted.has(name))) {
      const place = new StageFolder(run, keyParts(stage, seed, inputHashes(stage, hashes)));
      if (forced.has(stage.name)) place.clear();
      const old = place.done();
      if (old !== undefined) {
        place.verify(old);
        onEvent?.({
          type: 'end',
          stage: stage.name,
          folder: place.path,
          state: 'reused',
          seconds: old.seconds,
          problem: null,
        });
      }
      const done = old ?? (await runStage(stage, place, folders, forced.has(stage.name), options));
      hashes.set(stage.name, done.hash);
      folders.set(stage.name, place.path);
      const state = old === undefined ? 'done' : 'reused';
      results.push({ stage: stage.name, state, folder: place.path, seconds: done.seconds, hash: done.hash });
    }
    return results;
  } finally {
    unlock();
  }
}

/** A folder belongs to the recipe and seed that first ran in it. */
function claimFolder({ folder, recipe, seed, command, commit }: RunnerOptions): void {
  const path = join(folder, 'run.json');
  const found = readJson(path, `remove ${path} if the folder is of this recipe`) as RunRecord | undefined;
  const other = found !== undefined && (found.recipe !== recipe || found.seed !== seed);
  if (other)
    throw new MinkeError(
      'invalid-config',
      `${folder}: expected a folder of recipe ${recipe} with seed ${seed}, got one of ${found.recipe} with seed ${found.seed}; use another folder`,
    );
  writeJson(path, { recipe, seed, command, commit } satisfies RunRecord);
}

async function runStage(
  stage: Stage,
  place: StageFolder,
  folders: ReadonlyMap<string, string>,
  forced: boolean,
  { folder: run, seed, command, signal = new AbortController().signal, onEvent }: RunnerOptions,
): Promise<DoneRecord> {
  const { name } = stage;
  const begin = performance.now();
  const before = place.started();
  const parts: Record<string, number> = { ...before?.parts };
  const started = before?.started ?? new Date().toISOString();
  const spent = before?.seconds ?? 0;
  const why = before ? 'was interrupted' : forced ? 'asked for' : whatChanged(run, place.parts);
  const record = (): StartedRecord => {
    const seconds = spent + (performance.now() - begin) / 1000;
    return { ...place.parts, key: place.key, started, command, seconds, parts };
  };
  const end = (state: 'done' | 'stopped' | 'failed', problem: string | null): void => {
    const { seconds } = record();
    onEvent?.({ type: 'end', stage: name, folder: place.path, state, seconds, problem });
  };
  throwIfAborted(signal, name);
  place.tidy();
  place.start(record());
  onEvent?.({ type: 'start', stage: name, folder: place.path, why, spent });
  const note = setInterval(() => place.note(record()), noteEvery * 1000);
  note.unref();
  const context: StageContext = {
    folder: place.path,
    settings: stage.settings,
    seed,
    signal,
    input(key) {
      const from = stage.inputs[key];
      if (from !== undefined) return folders.get(from) as string;
      const known = Object.keys(stage.inputs).join(', ') || 'none';
      throw new MinkeError('invalid-argument', `expected an input out of ${known}, got ${key}; declare it`);
    },
    progress: (done, total, text = '') => onEvent?.({ type: 'progress', stage: name, done, total, text }),
    log: (text) => onEvent?.({ type: 'log', stage: name, text }),
    async time(part, work) {
      const from = performance.now();
      try {
        return await work();
      } finally {
        parts[part] = (parts[part] ?? 0) + (performance.now() - from) / 1000;
      }
    },
  };
  try {
    await stage.run(context);
    const done = place.finish(record());
    end('done', null);
    return done;
  } catch (cause) {
    const problem = stageError(name, cause);
    end(problem.code === 'aborted' ? 'stopped' : 'failed', problem.message);
    if (problem.code === 'aborted') place.note(record());
    throw problem;
  } finally {
    clearInterval(note);
  }
}

function throwIfAborted(signal: AbortSignal, name: string): void {
  if (signal.aborted)
    throw new MinkeError('aborted', `stopped before stage ${name}; start it again to continue`);
}

function stageError(name: string, cause: unknown): MinkeError {
  const text = cause instanceof Error ? cause.message : String(cause);
  if (isFull(cause)) {
    const { path } = cause as NodeJS.ErrnoException;
    return new MinkeError(
      'out-of-memory',
      `stage ${name}: expected to write ${path ?? 'its files'}, got ${text}; make room and start the run again, it continues from there`,
      { cause },
    );
  }
  const code = MinkeError.isInstance(cause) ? cause.code : 'internal';
  return new MinkeError(code, `stage ${name}: ${text}`, { cause });
}
