/**
 * Numbers of completion tokens, all of them and those that count: tokens of an environment have a place in a sequence
 * and none in a loss.
 */

/** The numbers of the tokens that count. */
export function counted<T>(values: readonly T[], mask: readonly number[] | undefined): readonly T[] {
  return mask === undefined ? values : values.filter((_, t) => mask[t] !== 0);
}

/** A number for every token again, 0 for those that do not count. */
export function spreadOver(
  values: readonly number[],
  mask: readonly number[] | undefined,
): readonly number[] {
  if (mask === undefined) return values;
  let next = 0;
  return mask.map((flag) => (flag === 0 ? 0 : (values[next++] as number)));
}

/** How many tokens count. */
export function countedLength(
  tokens: { readonly length: number },
  mask: readonly number[] | undefined,
): number {
  return mask === undefined ? tokens.length : mask.reduce((n, flag) => n + (flag === 0 ? 0 : 1), 0);
}
