import type { TextPart } from '@minke/reasoning-tasks';
import type { Score } from '../objectives/statistics.ts';

/** How an episode went. Plain data. */
export interface EpisodeOutcome {
  /** Who wrote what after the prompt, as text of the very tokens. */
  readonly parts: readonly TextPart[];
  /** The environment's own; null where it failed. */
  readonly score: Score;
  readonly turns: number;
  /** Replies that were asked for. */
  readonly calls: number;
  /** Of those, how many went wrong. */
  readonly failures: number;
  /** Why the environment failed; null where it did not. */
  readonly problem: string | null;
}
