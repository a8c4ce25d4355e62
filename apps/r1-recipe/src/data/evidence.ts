/**
 * Is a line of evidence true? The refiner keeps true lines, leaves out what is no statement, and gives up on a thought
 * that holds a false one: evidence is never repaired.
 *
 * A line is true if the family itself would write it (its derivation, or its check of a candidate), or if it is
 * arithmetic that holds: relations `=`, `<`, `>` between expressions of integers with `+ - * / mod` and parentheses,
 * several of them separated by spaces. In a tape such as `4+4=08+6=14` every `=` states the total so far.
 */
import {
  type Evaluation,
  evaluate,
  type FactsOf,
  type FamilyName,
  family,
  type Problem,
} from '@minke/reasoning-tasks';

/** What a line is: a true statement, a false one, or none. */
export type LineKind = 'true' | 'false' | 'broken';

const say = (word: string) => word;

/** The lines that the family would write to derive the answer, in English. */
export function derivationLines(problem: Problem): string[] {
  return stepsAs(problem.family, problem);
}

function stepsAs<Name extends FamilyName>(name: Name, problem: Problem): string[] {
  return family(name).reasoning.steps(problem.metadata as FactsOf[Name], say);
}

/** The lines that the family would write to check a candidate in normal form, in English. */
export function checkLines(problem: Problem, candidate: string): string[] {
  return checkAs(problem.family, problem, candidate);
}

function checkAs<Name extends FamilyName>(name: Name, problem: Problem, candidate: string): string[] {
  return family(name).reasoning.check(problem.metadata as FactsOf[Name], candidate, say);
}

const limits = { maxLength: 64, maxDepth: 8, maxBits: 64 };

/** Value of an expression as a fraction, or null. */
function fractionOf(text: string): { n: bigint; d: bigint } | null {
  const remainder = /^(\d{1,9})%(\d{1,9})$/.exec(text);
  if (remainder !== null) {
    const divisor = BigInt(remainder[2] as string);
    return divisor === 0n ? null : { n: BigInt(remainder[1] as string) % divisor, d: 1n };
  }
  if (!/^[\d+\-*/()]+$/.test(text)) return null;
  const found: Evaluation = evaluate(text.replaceAll(/\b0+(?=\d)/g, ''), limits);
  return found.ok ? found.value : null;
}

/** Whether one chain of relations holds; null where it is none. */
function holds(statement: string): boolean | null {
  const parts = statement.split(/([=<>])/);
  if (parts.length < 3) return null;
  let result = true;
  for (let i = 0; i + 2 < parts.length; i += 2) {
    const [left, relation, right] = parts.slice(i, i + 3) as [string, string, string];
    const [a, b] = [fractionOf(left), fractionOf(right)];
    if (a === null || b === null) return null;
    const difference = a.n * b.d - b.n * a.d;
    const last = i + 3 === parts.length;
    if (relation === '=') {
      const running = last ? null : fractionOf((/^\d+/.exec(right) ?? [''])[0]);
      result &&= difference === 0n || (running !== null && a.n === running.n * a.d);
    } else result &&= relation === '<' ? difference < 0n : difference > 0n;
  }
  return result;
}

/** Content that families copy: digits, letters, operators. */
const copied = /^[\da-z+\-*/(). ]*\d[\da-z+\-*/(). ]*$/;

/**
 * Judges one line.
 *
 * @param written what the family would write here
 */
export function judgeLine(line: string, written: ReadonlySet<string>): LineKind {
  if (written.has(line)) return 'true';
  const statements = line.replaceAll(' mod ', '%').split(' ');
  const found = statements.map(holds);
  if (found.every((value) => value !== null)) return found.every(Boolean) ? 'true' : 'false';
  // A copy that the family would not have made is a false one; the rest says nothing.
  return copied.test(line) ? 'false' : 'broken';
}
