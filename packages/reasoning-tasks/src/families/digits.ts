/**
 * Numbers as decimal digits: leading zeros, draws by number of digits, digit roots.
 *
 * Every chain of thought writes numbers at a fixed width, so that a tokenizer that keeps digits apart puts equal
 * places of all numbers at fixed distances from each other.
 */
import type { Random } from '@minke/core';

/** `value` in decimal with leading zeros up to `width` digits. */
export function pad(value: number, width: number): string {
  return String(value).padStart(width, '0');
}

/** A uniform integer with exactly `digits` digits (1 to 3); zero counts as one digit. */
export function ranged(random: Random, digits: number): number {
  return random.integer(digits === 1 ? 0 : 10 ** (digits - 1), 10 ** digits);
}

/**
 * Two three-digit integers of which the second, one time in ten, takes over the first digit of the first, and
 * one time in twenty the second digit as well: near-equal pairs are the hard ones to compare and rare by chance.
 */
export function twins(random: Random, left: number, right: number): [number, number] {
  const draw = random.uniform();
  if (draw < 0.05) return [left, left - (left % 10) + (right % 10)];
  if (draw < 0.1) return [left, left - (left % 100) + (right % 100)];
  return [left, right];
}

/** The remainder modulo 9 of a non-negative integer, the check number of "casting out nines". */
export function digitRoot(value: number): number {
  return value % 9;
}
