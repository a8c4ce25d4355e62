/**
 * Stop strings over streamed text: found wherever they begin and end, never shown.
 *
 * The one that is complete first wins, of several that end together the longest, so the result does not depend
 * on how the text is cut.
 * Text that could still become a stop string is held back, at most the longest stop string less one
 * character, and comes out with `flush`.
 */
import { check } from '@minke/core';

/**
 * @example
 * const stops = new StopStrings(['END']);
 * stops.push('fine E'); // { text: 'fine ', stopped: false }
 * stops.push('ND');     // { text: '', stopped: true }
 */
export class StopStrings {
  readonly #stops: readonly string[];
  #held = '';
  #stopped = false;

  /** @param stops non-empty strings; an empty list holds nothing back */
  constructor(stops: readonly string[]) {
    check(
      stops.every((stop) => stop.length > 0),
      () => 'StopStrings: expected non-empty strings, got an empty one',
    );
    this.#stops = stops;
  }

  /** Adds text; returns what may be shown, and whether a stop string ended it (later pushes are ignored). */
  push(text: string): { text: string; stopped: boolean } {
    if (this.#stopped) return { text: '', stopped: true };
    this.#held += text;
    let start = -1;
    let end = Number.POSITIVE_INFINITY;
    for (const stop of this.#stops) {
      const at = this.#held.indexOf(stop);
      if (at < 0 || at + stop.length > end || (at + stop.length === end && at > start)) continue;
      start = at;
      end = at + stop.length;
    }
    if (start >= 0) {
      const shown = this.#held.slice(0, start);
      this.#held = '';
      this.#stopped = true;
      return { text: shown, stopped: true };
    }
    const keep = this.#longestPrefix();
    const shown = this.#held.slice(0, this.#held.length - keep);
    this.#held = this.#held.slice(this.#held.length - keep);
    return { text: shown, stopped: false };
  }

  /** What was held back, when generation ends for another reason. */
  flush(): string {
    const held = this.#held;
    this.#held = '';
    return held;
  }

  /** Length of the longest suffix of the held text that begins a stop string. */
  #longestPrefix(): number {
    let keep = 0;
    for (const stop of this.#stops) {
      for (let n = Math.min(stop.length - 1, this.#held.length); n > keep; n--) {
        if (this.#held.endsWith(stop.slice(0, n))) keep = n;
      }
    }
    return keep;
  }
}
