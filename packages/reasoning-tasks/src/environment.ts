/**
 * Multi-turn environments: the model speaks, the environment answers, and at the end there is a score.
 *
 * A transcript is a list of parts that say who wrote them, so that a trainer masks what the environment wrote: its
 * tokens were not sampled and must carry no loss. A trainer tokenizes part by part, never the joined text, in which a
 * token could span two parts.
 */
import type { Verdict } from './answer.ts';

/** A piece of a transcript. */
export interface TextPart {
  readonly from: 'model' | 'environment';
  readonly text: string;
}

/** What the environment says to a turn of the model. */
export interface Turn {
  /** Text to append to the transcript before the model goes on; null at the end. */
  readonly reply: string | null;
  /** True once nothing more is to be sampled. */
  readonly done: boolean;
  /** True where the reply says that a call went wrong. */
  readonly failed?: boolean;
}

/** An episode of a task: `reset`, then `step` until `done`, then `score`. */
export interface Environment<Task> {
  /** Texts at which sampling has to stop and `step` be called; the stop text is part of the turn. */
  readonly stop: readonly string[];
  /** Starts an episode and returns the prompt. */
  reset(task: Task): string;
  /** Takes what the model said since the last turn. What takes time, such as a sandbox, answers with a promise. */
  step(text: string): Turn | Promise<Turn>;
  /** Judges the episode so far; null where that is impossible. */
  score(): Verdict;
  /** The transcript after the prompt. */
  parts(): readonly TextPart[];
}
