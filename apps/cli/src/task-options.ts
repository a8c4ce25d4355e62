/**
 * Options that choose generated tasks: families, levels, languages, kinds of thoughts, and their checks.
 */
import { allFamilyNames, type FamilyName, type LevelWeights } from '@minke/reasoning-tasks';
import type { ThoughtMixture } from '@minke/rl-trainer';
import { InvalidArgumentError } from 'commander';

/** `products,gcd`, or `all`. */
export function familyList(text: string): readonly FamilyName[] {
  if (text.trim() === 'all') return allFamilyNames;
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !allFamilyNames.includes(name as FamilyName));
  if (unknown !== undefined)
    throw new InvalidArgumentError(
      `expected all, or families among ${allFamilyNames.join(', ')}, got ${unknown}.`,
    );
  return [...new Set(names as FamilyName[])];
}

/** `name=weight,...` with names of a list and weights above 0. */
function weightsOf<Name extends string>(text: string, known: readonly Name[]): Partial<Record<Name, number>> {
  const entries = text.split(',').map((part) => part.split('=').map((side) => side.trim()));
  for (const [name, weight, ...rest] of entries)
    if (
      !known.includes(name as Name) ||
      rest.length > 0 ||
      !(Number(weight) > 0) ||
      !Number.isFinite(Number(weight))
    )
      throw new InvalidArgumentError(`expected name=weight with names of ${known.join(', ')}.`);
  return Object.fromEntries(entries.map(([name, weight]) => [name, Number(weight)])) as Partial<
    Record<Name, number>
  >;
}

/** `products=1,chain_sum=2`: relative frequencies of families. */
export const familyWeights = (text: string): Partial<Record<FamilyName, number>> =>
  weightsOf(text, allFamilyNames);

/** `1=0.2,3=0.8`: relative frequencies of levels. */
export function levelWeights(text: string): LevelWeights {
  const weights = weightsOf(text, ['1', '2', '3', '4']);
  const trained = [weights[1] ?? 0, weights[2] ?? 0, weights[3] ?? 0] as const;
  return weights[4] === undefined ? trained : [...trained, weights[4]];
}

/** A level, 1 to 4. */
export function level(text: string): 1 | 2 | 3 | 4 {
  const value = Number(text);
  if (!/^[1-4]$/.test(text.trim())) throw new InvalidArgumentError('expected a level from 1 to 4.');
  return value as 1 | 2 | 3 | 4;
}

/** A number in [0, 1]. */
export function share(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError('expected a share from 0 to 1.');
  return value;
}

/** `0.7,0.2,0.1`: relative frequencies of 0, 1, 2, ... */
export function frequencies(text: string): readonly number[] {
  const values = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (!values.every((value) => value >= 0 && Number.isFinite(value)) || !values.some((value) => value > 0))
    throw new InvalidArgumentError(
      'expected numbers of at least 0, one of them above, for example 0.7,0.2,0.1.',
    );
  return values;
}

export const thoughtLengths = (text: string): NonNullable<ThoughtMixture['length']> =>
  weightsOf(text, ['default', 'long', 'short', 'none']);

export const thoughtLanguages = (text: string): NonNullable<ThoughtMixture['language']> =>
  weightsOf(text, ['question', 'en', 'es', 'mixed']);
