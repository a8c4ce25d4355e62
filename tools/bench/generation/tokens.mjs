// Tokens that all sides of the generation benchmarks are fed: no control tokens, and other experts from token to token.

/** Decoding steps before sequences are cut back to their context. */
export const mostSteps = 64;

const first = 300;

/** A source of `count` random ids below the vocabulary's size. */
export function randomIds(vocabulary) {
  let state = 12345;
  return (count) =>
    Int32Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return first + ((state >>> 8) % (vocabulary - first));
    });
}

/** The prompt after which the sides' logits are compared. */
export const probeIds = (count) => Int32Array.from({ length: count }, (_, i) => first + 7 * i);
