import { Random } from '@minke/core';
import { type Difficulty, type FamilyName, type Problem, pose } from '@minke/reasoning-tasks';
import { describe, expect, it } from 'vitest';
import { curateTraces } from './curate-traces.ts';
import { judgeLine } from './evidence.ts';
import { refineTrace } from './refine-trace.ts';
import type { ReasoningTask } from './task.ts';
import { tasksOf } from './task-stream.ts';
import { fingerprint, firstRows } from './testing/rows.ts';
import { sloppyHabits, sloppyThought } from './thoughts.ts';
import { completionOf, partsOf, traceOf } from './trace.ts';
import { reasonAgainst, traceFilters } from './trace-filters.ts';
import { measureTraces } from './trace-measures.ts';

const make = (name: FamilyName, facts: object, language: 'en' | 'es' = 'en') =>
  pose(name, facts as never, 1 as Difficulty, new Random(1), language);

const signs = { numbers: [7, 2, 4], target: 9, solution: '7-2+4' };
const english = make('signed_sum', signs);
const spanish = make('signed_sum', signs, 'es');
const sum = make('chain_sum', { operation: 'add', left: 48, right: 7 });
const greatest = make('gcd', { left: 12, right: 18 });

const good = '7-2=5\n5+4=9\n9=9';
const trace = (problem: Problem, reasoning: string, answer = 'The answer is 7-2+4.') =>
  traceOf(problem, completionOf({ reasoning, answer }));

describe('judgeLine', () => {
  it.each([
    ['8+7=15', 'true'],
    ['8+7=16', 'false'],
    ['17-8=09', 'true'],
    ['4+4=08+6=14', 'true'],
    ['4+4=08+6=15', 'false'],
    ['4+4=09+6=15', 'false'],
    ['13=6*2+1', 'true'],
    ['13=6*2+2', 'false'],
    ['24 mod 20=4', 'true'],
    ['24 mod 20=3', 'false'],
    ['24 mod 0=3', 'broken'],
    ['49<75 75>23', 'true'],
    ['49<75 75<23', 'false'],
    ['(-6)+1=-5', 'true'],
    ['-6<12', 'true'],
    ['-6>12', 'false'],
    ['12/4=3', 'true'],
    ['048+007', 'true'],
    ['048+070', 'false'],
    ['3+=7', 'broken'],
    ['=7', 'broken'],
    ['hm?', 'broken'],
    ['7 7 7 right', 'false'],
  ] as const)('%s is %s', (line, kind) => {
    expect(judgeLine(line, new Set(['048+007']))).toBe(kind);
  });
});

describe('partsOf', () => {
  it('cuts a thought of either language into derivation, tries and result', () => {
    const thought = `1+1=2\ntry 7+2+4\n7+2=9\n9+4=13\n13>9\nmal\nprueba 7-2+4\n${good}\nright\nhm\nluego 7-2+4\nmore`;
    expect(partsOf(thought)).toEqual({
      derivation: ['1+1=2'],
      tries: [
        { candidate: '7+2+4', evidence: ['7+2=9', '9+4=13', '13>9'], verdict: 'wrong' },
        { candidate: '7-2+4', evidence: good.split('\n'), verdict: 'right' },
      ],
      result: '7-2+4',
    });
  });
});

describe('refineTrace', () => {
  const wrongTry = '7+2=9\n9+4=13\n13>9';
  const tidy = (problem: Problem, reasoning: string, answer?: string) =>
    refineTrace(trace(problem, reasoning, answer));

  it('puts step words and summary into the language of the question', () => {
    const mixed = `prueba 7+2+4\n${wrongTry}\nwrong\ntry 7-2+4\n${good}\nbien\nluego 7-2+4`;
    expect(tidy(english, mixed, 'La respuesta es 7-2+4.')).toEqual({
      reasoning: `try 7+2+4\n${wrongTry}\nwrong\ntry 7-2+4\n${good}\nright\nso 7-2+4`,
      answer: 'The answer is 7-2+4.',
    });
    expect(tidy(spanish, mixed)).toEqual({
      reasoning: `prueba 7+2+4\n${wrongTry}\nmal\nprueba 7-2+4\n${good}\nbien\nluego 7-2+4`,
      answer: 'La respuesta es 7-2+4.',
    });
  });

  it('says words of the answer in that language too', () => {
    const bits = make('parity', { bits: '1011' }, 'es');
    expect(refineTrace(traceOf(bits, '11 01 10 11\nso odd\n</think>\n\nThe answer is odd.'))).toEqual({
      reasoning: '11 01 10 11\nluego impar',
      answer: 'La respuesta es impar.',
    });
  });

  it('leaves out repeated tries, broken lines, tries without a verdict, and what follows the end', () => {
    const untidy = `try 7+2+4\n${wrongTry}\nwrong\nhm, well\ntry 7 + 2 + 4\n${wrongTry}\nwrong\ntry 7-2-4\ntry 7-2+4\n${good}\n3+=\nright\nso 7-2+4\nso 7-2+4`;
    expect(tidy(english, untidy)).toEqual({
      reasoning: `try 7+2+4\n${wrongTry}\nwrong\ntry 7-2+4\n${good}\nright\nso 7-2+4`,
      answer: 'The answer is 7-2+4.',
    });
  });

  it('leaves out lines said twice, but not those that belong there twice', () => {
    const product = make('products', { left: 11, right: 11 });
    const thought = '11*11\n11*11\n1*1=01\n1*1=01\n1*1=01\n1*1=01\n1*1=01\nso 121';
    const refined = tidy(product, thought, 'The answer is 121.');
    expect(refined).toEqual({
      reasoning: '11*11\n1*1=01\n1*1=01\n1*1=01\n1*1=01\nso 121',
      answer: 'The answer is 121.',
    });
  });

  it.each([
    ['a wrong answer', english, 'so 7+2+4', 'The answer is 7+2+4.', 'wrong answer'],
    [
      'false evidence',
      english,
      `try 7-2+4\n7-2=6\n6+4=10\n9=9\nright\nso 7-2+4`,
      undefined,
      'false evidence',
    ],
    [
      'a false step of a derivation',
      sum,
      '048+007\n8+7=16\n4+0+1=05\nso 55',
      'The answer is 55.',
      'false evidence',
    ],
    ['a copy that is none', sum, '084+007\n8+7=15\nso 55', 'The answer is 55.', 'false evidence'],
    ['a false verdict', english, `try 7+2+4\n${wrongTry}\nright\nso 7-2+4`, undefined, 'false verdict'],
    ['right without evidence', english, 'try 7-2+4\nright\nso 7-2+4', undefined, 'no evidence'],
    ['nothing but a result', english, 'so 7-2+4', undefined, 'no evidence'],
    [
      'another result than answer',
      sum,
      '048+007\n8+7=15\nso 56',
      'The answer is 55.',
      'result is not the answer',
    ],
    [
      'an answer that was never tried',
      greatest,
      'try 2\n12/2=6\n18/2=9\n6 mod 3=0\n9 mod 3=0\nwrong',
      'The answer is 6.',
      'no evidence',
    ],
  ] as const)('drops %s', (_, problem, reasoning, answer, reason) => {
    expect(tidy(problem, reasoning, answer)).toEqual({ reason });
  });
});

describe('traceFilters', () => {
  const found = `try 7-2+4\n${good}\nright\nso 7-2+4`;
  const wrong = 'try 7+2+4\n7+2=9\n9+4=13\n13>9\nwrong\n';

  it('lets a clean trace through', () => {
    expect(reasonAgainst(trace(english, wrong + found))).toBeNull();
    expect(traceFilters).toHaveLength(6);
  });

  it.each([
    ['no end of the thought', traceOf(english, found), 'bad format'],
    ['no thought', traceOf(english, '\n</think>\n\nThe answer is 7-2+4.'), 'bad format'],
    ['a wrong answer', trace(english, found, 'The answer is 7+2+4.'), 'wrong answer'],
    ['two languages', trace(english, found.replace('right', 'bien')), 'mixed languages'],
    ['an answer in another language', trace(english, found, 'La respuesta es 7-2+4.'), 'mixed languages'],
    ['a repeated try', trace(english, wrong + wrong.replace('7+2+4', '7 + 2 + 4') + found), 'repeated try'],
    ['a false verdict', trace(english, wrong.replace('wrong', 'right') + found), 'false verdict'],
    ['length', trace(english, `${'7-2=5\n'.repeat(60)}${found}`), 'too long'],
  ] as const)('says what is wrong: %s', (_, sample, reason) => {
    expect(reasonAgainst(sample)).toBe(reason);
  });
});

describe('curateTraces', () => {
  const samples = (firstRows(tasksOf('reasoning', { seed: 12 }), 1500) as ReasoningTask[]).map(
    ({ metadata }, i) =>
      traceOf(metadata, completionOf(sloppyThought(metadata, sloppyHabits, new Random(3, i)))),
  );
  const { rows, reasons, before, after } = curateTraces(samples);

  it('accounts for every sample', () => {
    expect(Object.values(reasons).reduce((sum, count) => sum + count, 0)).toBe(samples.length);
    expect(reasons.kept).toBe(rows.length);
    expect(rows.length / samples.length).toBeGreaterThan(0.5);
    expect(new Set(rows.map(({ id }) => id)).size).toBe(rows.length);
  });

  it('makes traces readable and honest, and keeps them diverse', () => {
    expect(before.languageConsistency).toBeLessThan(0.8);
    expect(before.verdictsRight).toBeLessThan(1);
    expect(before.trueLines).toBeLessThan(1);
    expect(after).toMatchObject({
      languageConsistency: 1,
      verdictsRight: 1,
      trueLines: 1,
      knownLines: 1,
      distinctTries: 1,
    });
    for (const n of [0, 1, 2] as const)
      expect(after.distinct[n] as number).toBeGreaterThan(0.85 * (before.distinct[n] as number));
  });

  it('keeps what passes all filters, once of each problem or as often as asked', () => {
    const problemOf = new Map(samples.map(({ problem }) => [problem.prompt, problem]));
    for (const row of rows)
      expect(reasonAgainst(traceOf(problemOf.get(row.question) as Problem, completionOf(row)))).toBeNull();
    const found = 'try 7-2+4\n7-2=5\n5+4=9\n9=9\nright\nso 7-2+4';
    const other = `try 7-2-4\n7-2=5\n5-4=1\n1<9\nwrong\n${found}`;
    const same = [found, found, other].map((reasoning) => trace(english, reasoning));
    expect(curateTraces(same).reasons).toEqual({ kept: 1, duplicate: 1, 'enough of this problem': 1 });
    expect(curateTraces(same, { keepPerProblem: 2 }).reasons).toEqual({ kept: 2, duplicate: 1 });
  });

  it('makes the same rows for ever', () => {
    expect(fingerprint(rows)).toMatchInlineSnapshot(`"4cbab1cbdd0cdd38"`);
  });
});

describe('measureTraces', () => {
  it('counts in windows, so that more of the same is not less diverse', () => {
    const same = Array.from({ length: 300 }, () => trace(sum, '048+007\n8+7=15\nso 55', 'The answer is 55.'));
    const [all, some] = [same, same.slice(0, 100)].map((traces) => measureTraces(traces).distinct);
    for (const n of [0, 1, 2]) expect(all?.[n]).toBeCloseTo(some?.[n] as number, 10);
    expect(measureTraces([])).toMatchObject({
      traces: 0,
      languageConsistency: null,
      distinct: [null, null, null],
    });
  });
});
