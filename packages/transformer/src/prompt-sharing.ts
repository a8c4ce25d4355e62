/** Which neighbours of a training batch begin with the same prompt, so that it is computed once. */
import type { SharingSequence } from '@minke/mla-attention';

/** Which sequences begin with the prompt of the one before them. */
export function sharingOf(
  sequences: readonly (readonly number[])[],
  promptLengths: readonly number[],
): SharingSequence[] {
  return sequences.map(({ length }, i) => ({
    length,
    prefix: promptLengths[i] as number,
    shared: i > 0 && samePrompt(sequences, promptLengths, i),
  }));
}

/** Whether sequence i begins with the same prompt as the one before it, with tokens after it. */
function samePrompt(
  sequences: readonly (readonly number[])[],
  promptLengths: readonly number[],
  i: number,
): boolean {
  const [before, own] = [sequences[i - 1] as readonly number[], sequences[i] as readonly number[]];
  const length = promptLengths[i] as number;
  if (length === 0 || length !== promptLengths[i - 1]) return false;
  for (let t = 0; t < length; t++) if (before[t] !== own[t]) return false;
  return true;
}
