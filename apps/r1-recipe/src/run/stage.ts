/**
 * What a stage of a recipe is, and the graph that stages make.
 *
 * A stage is plain data and one function. It knows its inputs by the names of other stages, never by path, so the
 * runner alone decides where outputs live and what is out of date.
 */
import { MinkeError } from '@minke/core';
import { canonicalJson } from './content-hash.ts';

/** What a running stage may use. */
export interface StageContext<S = unknown> {
  /** The stage's own folder: outputs, checkpoints and logs go here. What an interrupted run left is still in it. */
  readonly folder: string;
  readonly settings: S;
  /** Of the whole run. */
  readonly seed: number;
  /** Aborted by Ctrl-C: save a checkpoint and reject with `aborted`. */
  readonly signal: AbortSignal;
  /** Folder of the outputs of the stage behind an input; to be read only. */
  input(key: string): string;
  /** How far the stage is; `text` is a figure or two to show beside it. */
  progress(done: number, total: number, text?: string): void;
  /** A line for whoever watches. */
  log(text: string): void;
  /** Adds the seconds that `work` takes to a part of the stage's time, such as `evaluation`. */
  time<T>(part: string, work: () => Promise<T>): Promise<T>;
}

/**
 * One stage. Everything it leaves in its folder is its output, by content, except `checkpoints` folders,
 * `metrics.jsonl` files (wall-clock figures belong there) and files that end in `.tmp`.
 */
export interface Stage<S = unknown> {
  /** Lower-case words joined by hyphens: `grpo-1`. */
  readonly name: string;
  /** What a reader sees; default: the name. */
  readonly title?: string;
  /** Raised whenever the code of the stage changes what comes out. */
  readonly version: number;
  /** Stage names, by what this stage calls them. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Plain JSON. */
  readonly settings: S;
  /** Makes the outputs. Called again after a kill, it continues to the same bytes. */
  run(context: StageContext<S>): Promise<void>;
}

const validName = /^[a-z0-9]+(-[a-z0-9]+)*$/;

/**
 * The stages in an order in which inputs come first, otherwise as given.
 * Throws `invalid-config`, naming all problems: names that are unfit or used twice, unknown inputs, cycles,
 * settings that are not JSON.
 */
export function orderStages(stages: readonly Stage[]): readonly Stage[] {
  const byName = new Map(stages.map((stage) => [stage.name, stage]));
  const problems: string[] = [];
  if (stages.length === 0) problems.push('one stage or more, got none');
  for (const [i, stage] of stages.entries()) {
    const { name, version, inputs, settings } = stage;
    if (!validName.test(name)) problems.push(`names like grpo-1, got ${JSON.stringify(name)}`);
    if (stages.findIndex((other) => other.name === name) !== i)
      problems.push(`each name once, got ${name} twice`);
    if (!Number.isSafeInteger(version) || version < 1)
      problems.push(`a version of 1 or more for ${name}, got ${version}`);
    for (const [key, from] of Object.entries(inputs))
      if (!byName.has(from))
        problems.push(
          `input ${key} of ${name} to be one of ${[...byName.keys()].join(', ')}, got ${JSON.stringify(from)}`,
        );
    try {
      canonicalJson(settings);
    } catch (cause) {
      problems.push(`settings of ${name} in plain JSON, got ${(cause as Error).message}`);
    }
  }
  if (problems.length === 0) problems.push(...cycleProblems(byName));
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `recipe: expected ${problems.join('; ')}; correct the stages`);
  const ordered = new Set<Stage>();
  const add = (stage: Stage): void => {
    for (const from of Object.values(stage.inputs)) add(byName.get(from) as Stage);
    ordered.add(stage);
  };
  stages.forEach(add);
  return [...ordered];
}

function cycleProblems(byName: ReadonlyMap<string, Stage>): string[] {
  const settled = new Set<string>();
  const visit = (name: string, path: readonly string[]): string | undefined => {
    if (settled.has(name)) return undefined;
    const at = path.indexOf(name);
    if (at >= 0) return [...path.slice(at), name].join(' -> ');
    for (const from of Object.values((byName.get(name) as Stage).inputs)) {
      const cycle = visit(from, [...path, name]);
      if (cycle !== undefined) return cycle;
    }
    settled.add(name);
    return undefined;
  };
  for (const name of byName.keys()) {
    const cycle = visit(name, []);
    if (cycle !== undefined) return [`no cycle of inputs, got ${cycle}`];
  }
  return [];
}

/** The named stages and all that they need, directly or not. */
export function withInputs(stages: readonly Stage[], names: readonly string[]): ReadonlySet<string> {
  return reach(names, (name) => Object.values(stages.find((stage) => stage.name === name)?.inputs ?? {}));
}

/** The named stages and all that need them, directly or not. */
export function withDependents(stages: readonly Stage[], names: readonly string[]): ReadonlySet<string> {
  return reach(names, (name) =>
    stages.filter(({ inputs }) => Object.values(inputs).includes(name)).map((stage) => stage.name),
  );
}

function reach(names: readonly string[], next: (name: string) => readonly string[]): ReadonlySet<string> {
  const found = new Set<string>();
  const visit = (name: string): void => {
    if (found.has(name)) return;
    found.add(name);
    next(name).forEach(visit);
  };
  names.forEach(visit);
  return found;
}
