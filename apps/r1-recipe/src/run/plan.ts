/**
 * What a run would do, and why, stage by stage.
 *
 * A stage whose inputs have still to run has no key yet. It may turn out to be done after all: when the inputs come
 * out with the same bytes as before, the wave of reruns stops there.
 */
import { existsSync } from 'node:fs';
import { MinkeError } from '@minke/core';
import { orderStages, type Stage, withDependents, withInputs } from './stage.ts';
import { keyParts, StageFolder, whatChanged } from './stage-folder.ts';

/** Which stages a run is about. */
export interface Selection {
  /** These stages and what they need; default: all. */
  readonly only?: readonly string[];
  /** This stage and all that depend on it run afresh. */
  readonly from?: string;
  /** These stages run afresh. */
  readonly force?: readonly string[];
}

export type PlannedState =
  /** Its outputs are there. */
  | 'done'
  /** It was interrupted and goes on. */
  | 'continue'
  | 'run'
  /** Inputs run first; then it is seen whether it has to. */
  | 'waits'
  /** Not asked for. */
  | 'left out';

export interface PlannedStage {
  readonly stage: Stage;
  readonly state: PlannedState;
  readonly why: string;
  /** Where outputs are or will be; null while the inputs are open, or where a stage is left out and has none. */
  readonly folder: StageFolder | null;
}

/** What of the stages is wanted, and what of that afresh. */
export interface Wanted {
  readonly wanted: ReadonlySet<string>;
  readonly afresh: ReadonlySet<string>;
}

/** Throws `invalid-argument`, naming all problems, for names that no stage has. */
export function selectStages(stages: readonly Stage[], { only, from, force = [] }: Selection): Wanted {
  const names = stages.map(({ name }) => name);
  const asked = { only: only ?? [], from: from === undefined ? [] : [from], force };
  const problems = Object.entries(asked).flatMap(([option, list]) => {
    const unknown = list.filter((name) => !names.includes(name));
    return unknown.length === 0 ? [] : [`${unknown.join(', ')} for ${option}`];
  });
  if (problems.length > 0)
    throw new MinkeError(
      'invalid-argument',
      `recipe: expected stages out of ${names.join(', ')}, got ${problems.join('; ')}; choose from those`,
    );
  const afresh = new Set([...withDependents(stages, asked.from), ...force]);
  const wanted = only === undefined ? new Set(names) : withInputs(stages, only);
  return { wanted, afresh };
}

/**
 * Looks at a run's folder without changing it. Stages come in the order in which they would run.
 * Throws like `orderStages` and `selectStages`, and `invalid-file` for damaged records.
 *
 * @example
 * for (const { stage, state, why } of planRun(stages, { folder: 'runs/r1', seed: 0 })) console.log(stage.name, state, why);
 */
export function planRun(
  stages: readonly Stage[],
  { folder: run, seed, ...selection }: Selection & { readonly folder: string; readonly seed: number },
): readonly PlannedStage[] {
  const ordered = orderStages(stages);
  const { wanted, afresh } = selectStages(ordered, selection);
  const hashes = new Map<string, string>();
  return ordered.map((stage): PlannedStage => {
    const leftOut = !wanted.has(stage.name);
    const open = [...new Set(Object.values(stage.inputs).filter((from) => !hashes.has(from)))];
    if (leftOut && open.length > 0) return { stage, state: 'left out', why: 'not asked for', folder: null };
    if (open.length > 0) {
      const first = `after ${open.join(', ')}`;
      if (afresh.has(stage.name)) return { stage, state: 'run', why: `asked for, ${first}`, folder: null };
      return { stage, state: 'waits', why: `${first}, if that comes out differently`, folder: null };
    }
    const folder = new StageFolder(run, keyParts(stage, seed, inputHashes(stage, hashes)));
    if (afresh.has(stage.name) && !leftOut) return { stage, state: 'run', why: 'asked for', folder };
    const done = folder.done();
    if (done !== undefined) hashes.set(stage.name, done.hash);
    if (leftOut)
      return { stage, state: 'left out', why: 'not asked for', folder: done === undefined ? null : folder };
    if (done !== undefined) {
      return { stage, state: 'done', why: `in ${done.seconds.toFixed(0)} s`, folder };
    }
    if (existsSync(folder.path) && folder.started() !== undefined)
      return { stage, state: 'continue', why: 'was interrupted', folder };
    return { stage, state: 'run', why: whatChanged(run, folder.parts), folder };
  });
}

/** The hash of the outputs behind each input. */
export function inputHashes(stage: Stage, hashes: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(stage.inputs).map(([key, from]) => [key, hashes.get(from) as string]),
  );
}
