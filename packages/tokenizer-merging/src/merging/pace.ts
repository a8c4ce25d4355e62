/**
 * A router's sense of how long a run is.
 */
import type { MergerConfig } from './config.ts';
import type { MergePlan, SequenceStart } from './plan.ts';

/** Logit of what is nearly certain at first: content, whose cosine is at most 1, does not outweigh it. */
const CERTAIN = 2;

/**
 * Biases of runs of 0, 1, ... tokens, [maxRun], with which entries have `tokensPerEntry` tokens: no boundary while they
 * would be shorter, one as soon as they are as long. Between two whole numbers both lengths occur, as the text has it.
 */
export function firstPace({ tokensPerEntry, maxRun }: Required<MergerConfig>): Float32Array {
  const shorter = Math.floor(tokensPerEntry);
  const longer = tokensPerEntry - shorter;
  return Float32Array.from({ length: maxRun }, (_, run) => {
    const beyond = run + 1 - shorter;
    if (beyond < 0) return -CERTAIN;
    if (beyond > 0) return CERTAIN * (beyond + 1);
    return Math.max(-CERTAIN, Math.min(CERTAIN, Math.log((1 - longer) / longer)));
  });
}

/** Tokens since the latest boundary when each token was decided about, [T]. */
export function runsBefore({ lag, tokenOffsets, starts }: MergePlan): Int32Array {
  const runs = new Int32Array(lag.length);
  runs.set(lag.subarray(0, -1), 1);
  starts.forEach(({ run }: SequenceStart, b) => {
    const first = tokenOffsets[b] as number;
    if (first < (tokenOffsets[b + 1] as number)) runs[first] = run;
  });
  return runs;
}
