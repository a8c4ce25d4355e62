/**
 * `state.json` of a run: its stages and where each of them is, for whoever watches from outside: the local page, the
 * report. Rewritten as a whole at every change, at most a few times a second while only progress changes.
 */
import { join, relative, sep } from 'node:path';
import { readJson, writeJsonQuickly } from './json-file.ts';
import type { RunEvent, RunRecord } from './runner.ts';

export type StageState =
  | 'waiting'
  | 'running'
  | 'done'
  /** Its outputs were there. */
  | 'reused'
  | 'stopped'
  | 'failed'
  | 'left out';

/** One stage, as `state.json` has it. */
export interface StageView {
  readonly name: string;
  readonly title: string;
  /** Stages it reads from. */
  readonly inputs: readonly string[];
  readonly state: StageState;
  /** Why it runs or not. */
  readonly why: string;
  /** Relative to the run's folder, with slashes; null while unknown. */
  readonly folder: string | null;
  readonly seconds: number;
  readonly progress: {
    readonly done: number;
    readonly total: number;
    readonly text: string;
    /** Estimated seconds to the end; null while unknown. */
    readonly left: number | null;
  } | null;
  readonly problem: string | null;
}

/** `state.json`. */
export interface RunState extends RunRecord {
  readonly stages: readonly StageView[];
  /** Newest last. */
  readonly notes: readonly { readonly stage: string; readonly text: string }[];
  /** No stage runs any more. */
  readonly over: boolean;
}

const notesKept = 50;
const progressEveryMs = 250;

/** Keeps the state of a run from its events, in memory and in the file. */
export class RunStateFile {
  readonly #run: string;
  readonly #stages = new Map<string, StageView>();
  readonly #record: RunRecord;
  #notes: RunState['notes'] = [];
  #began = 0;
  #first = 0;
  #spent = 0;
  #written = 0;
  #over = false;

  constructor(run: string, record: RunRecord) {
    this.#run = run;
    this.#record = record;
  }

  get state(): RunState {
    return { ...this.#record, stages: [...this.#stages.values()], notes: this.#notes, over: this.#over };
  }

  /** Takes an event in; writes the file where a watcher should see it now. */
  take(event: RunEvent): void {
    const now = performance.now();
    switch (event.type) {
      case 'plan':
        for (const { stage, state, why, folder } of event.plan)
          this.#stages.set(stage.name, {
            name: stage.name,
            title: stage.title ?? stage.name,
            inputs: [...new Set(Object.values(stage.inputs))],
            state: state === 'left out' ? state : 'waiting',
            why,
            // Of a stage that was left out, what an earlier run made.
            folder: state === 'left out' && folder !== null ? this.#relative(folder.path) : null,
            seconds: 0,
            progress: null,
            problem: null,
          });
        break;
      case 'start':
        this.#began = now;
        this.#spent = event.spent;
        this.#first = -1;
        this.#change(event.stage, {
          state: 'running',
          why: event.why,
          folder: this.#relative(event.folder),
          seconds: event.spent,
        });
        break;
      case 'progress': {
        const { stage, done, total, text } = event;
        if (this.#first < 0) this.#first = done - 1;
        const seconds = (now - this.#began) / 1000;
        const steps = done - this.#first;
        const left = steps > 0 ? (seconds / steps) * (total - done) : null;
        this.#change(stage, { seconds: this.#spent + seconds, progress: { done, total, text, left } });
        if (now - this.#written < progressEveryMs && done < total) return;
        break;
      }
      case 'log':
        this.#notes = [...this.#notes, { stage: event.stage, text: event.text }].slice(-notesKept);
        break;
      case 'end': {
        const { stage, folder, state, seconds, problem } = event;
        const progress = this.#stages.get(stage)?.progress ?? null;
        this.#change(stage, {
          state,
          folder: this.#relative(folder),
          seconds,
          problem,
          progress: progress && { ...progress, left: null },
        });
        break;
      }
    }
    this.#write(now);
  }

  /** The run has ended, well or not. */
  end(): void {
    this.#over = true;
    this.#write(performance.now());
  }

  #write(now: number): void {
    this.#written = now;
    writeJsonQuickly(join(this.#run, 'state.json'), this.state);
  }

  #change(stage: string, change: Partial<StageView>): void {
    const view = this.#stages.get(stage);
    if (view !== undefined) this.#stages.set(stage, { ...view, ...change });
  }

  #relative(folder: string): string {
    return relative(this.#run, folder).split(sep).join('/');
  }
}

/** The state of a run, or undefined before it has one. Throws `invalid-file` when it is damaged. */
export function readRunState(run: string): RunState | undefined {
  const path = join(run, 'state.json');
  return readJson(path, 'start the run again, which writes it anew') as RunState | undefined;
}
