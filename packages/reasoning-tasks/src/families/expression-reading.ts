/** Answers that are expressions over given numbers: read, checked against the numbers, and evaluated exactly. */
import { type EvaluationLimits, evaluate, formatRational } from '../rational.ts';

const limits: EvaluationLimits = { maxLength: 128, maxDepth: 16, maxBits: 512 };

/** The expression without a trailing `= total`, if it can be evaluated and uses none but the four operations. */
export function readExpression(text: string): string | null {
  const bare = text.replace(/\s*=\s*[-+\d./]{1,32}$/, '');
  const found = evaluate(bare, limits);
  if (!found.ok || found.operators.includes('^') || /\d\.\d/.test(bare)) return null;
  return bare
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/[×·x]/g, '*')
    .replaceAll(/[÷:]/g, '/')
    .replaceAll(/[\u2212–]/g, '-');
}

/** The value and the numbers of an expression that `readExpression` let through. */
export function exactValue(expression: string): { value: string; numbers: number[] } | null {
  const found = evaluate(expression, limits);
  return found.ok ? { value: formatRational(found.value), numbers: found.numbers.map(Number) } : null;
}
