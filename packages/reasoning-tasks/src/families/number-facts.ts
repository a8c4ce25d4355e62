/** Lines of exact integer arithmetic that several families share. */

/** `12<15`, `15=15` or `17>15`, and each with the next one: `12<45>30`. */
export function compared(first: number, ...others: readonly number[]): string {
  let [line, left] = [String(first), first];
  for (const right of others) {
    line += `${left < right ? '<' : left > right ? '>' : '='}${right}`;
    left = right;
  }
  return line;
}

/**
 * Euclid's algorithm: `84-1*60=84-60=24`, `60-2*24=60-48=12`, `24-2*12=24-24=0`; the divisor of the last line is the
 * answer. Quotient, product and remainder are written one after the other: a small model learns three short steps, and
 * hardly ever the remainder at once.
 */
export function euclid(left: number, right: number): { lines: string[]; divisor: number } {
  const lines: string[] = [];
  let [a, b] = left >= right ? [left, right] : [right, left];
  while (b > 0) {
    const product = a - (a % b);
    lines.push(`${a}-${product / b}*${b}=${a}-${product}=${a % b}`);
    [a, b] = [b, a % b];
  }
  return { lines, divisor: a };
}

/** The smallest prime factor of an integer above 1. */
export function smallestFactor(value: number): number {
  for (let factor = 2; factor * factor <= value; factor++) if (value % factor === 0) return factor;
  return value;
}

/** The prime factors of an integer above 1, ascending, with repetition. */
export function primeFactors(value: number): number[] {
  const factors: number[] = [];
  for (let rest = value; rest > 1; rest /= factors.at(-1) as number) factors.push(smallestFactor(rest));
  return factors;
}

/** The smallest prime that divides both, or null. */
export function commonPrime(left: number, right: number): number | null {
  const { divisor } = euclid(left, right);
  return divisor > 1 ? smallestFactor(divisor) : null;
}

/** `12/4=3`, a division without remainder. */
export function divided(value: number, by: number): string {
  return `${value}/${by}=${value / by}`;
}

/** `7`, or `-7` as `(-7)`, to stand inside an expression. */
export function operand(value: number): string {
  return value < 0 ? `(${value})` : String(value);
}
