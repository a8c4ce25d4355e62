/**
 * `knights_knaves`: knights tell the truth, knaves lie; who is what?
 *
 * Levels 1 to 4: 3 people who speak of one other; 3 and 4 people who also compare two people; 5 people. Every person
 * says one thing, and exactly one assignment fits (checked by trying all). The canonical form is the smallest over
 * all renamings of the people. Thoughts try assignments: what each person says is true or false under the candidate.
 */
import type { Random } from '@minke/core';
import { type Language, type Say, speaker } from '../language.ts';
import { makeFamily } from '../task.ts';

/** One person's words: of one person that they are a knight or knave, of two that they are the same or not. */
export interface KnightsKnavesStatement {
  readonly claim: 'knight' | 'knave' | 'same' | 'different';
  /** People by index, ascending; one for the first two claims, two for the others. */
  readonly of: readonly number[];
}

/** The facts of a puzzle: what person 0, 1, ... says. */
export interface KnightsKnavesFacts {
  readonly statements: readonly KnightsKnavesStatement[];
}

const names = 'ABCDE';

/** Assignments are bit masks: bit i is set where person i is a knight. */
const isKnight = (assignment: number, person: number) => ((assignment >> person) & 1) === 1;

function holds({ claim, of }: KnightsKnavesStatement, assignment: number): boolean {
  const [first, second = first] = of.map((person) => isKnight(assignment, person));
  if (claim === 'knight') return first === true;
  if (claim === 'knave') return first === false;
  return (first === second) === (claim === 'same');
}

function consistent({ statements }: KnightsKnavesFacts, assignment: number): boolean {
  return statements.every(
    (statement, person) => holds(statement, assignment) === isKnight(assignment, person),
  );
}

function solutions(facts: KnightsKnavesFacts): number[] {
  const all = Array.from({ length: 2 ** facts.statements.length }, (_, assignment) => assignment);
  return all.filter((assignment) => consistent(facts, assignment));
}

function write(assignment: number, people: number, say: Say): string {
  return Array.from(
    { length: people },
    (_, i) => `${names[i]} ${say(isKnight(assignment, i) ? 'knight' : 'knave')}`,
  ).join(', ');
}

function parse(text: string): { assignment: number; people: number } | null {
  const items = text.split(/\s*(?:,|;|\band\b|\by\b)\s*/).filter((item) => item !== '');
  let [assignment, people] = [0, 0];
  for (const item of items) {
    const match = /^([A-E])(?::| is an?| es un)? (?:(knight|caballero)|(knave|bribon|bribón))$/i.exec(item);
    if (match === null || names[people] !== match[1]?.toUpperCase()) return null;
    if (match[2] !== undefined) assignment |= 1 << people;
    people++;
  }
  return people === 0 ? null : { assignment, people };
}

function draw(random: Random, people: number, pairs: boolean): KnightsKnavesStatement[] {
  return Array.from({ length: people }, (_, speaking) => {
    const others = random.shuffle(Array.from({ length: people }, (_, i) => i).filter((i) => i !== speaking));
    if (!pairs || random.integer(0, 2) === 0)
      return { claim: random.pick(['knight', 'knave'] as const), of: others.slice(0, 1) };
    const pair = random.integer(0, 2) === 0 ? [speaking, others[0] as number] : others.slice(0, 2);
    return { claim: random.pick(['same', 'different'] as const), of: pair.sort((a, b) => a - b) };
  });
}

function* orders(count: number, taken: readonly number[] = []): Generator<readonly number[]> {
  if (taken.length === count) yield taken;
  else for (let i = 0; i < count; i++) if (!taken.includes(i)) yield* orders(count, [...taken, i]);
}

const everyOrder = [0, 1, 2, 3, 4, 5].map((count) => [...orders(count)]);

/** Claims in the order of their text, which is that of canonical forms: no claim begins with another. */
const claims = ['different', 'knave', 'knight', 'same'] as const;

/**
 * The smallest, as text, of all renamings of the people: what person 0 says, then person 1, .... A statement is compared
 * as a number: its claim, then its people in ascending order.
 */
function smallestForm({ statements }: KnightsKnavesFacts): string {
  const count = statements.length;
  const said = statements.map(({ claim, of }) => ({ rank: claims.indexOf(claim) * 100, of }));
  let smallest = new Array<number>(count).fill(Number.POSITIVE_INFINITY);
  let form = new Array<number>(count).fill(0);
  for (const order of everyOrder[count] as (readonly number[])[]) {
    said.forEach(({ rank, of: [a, b] }, person) => {
      const first = order[a as number] as number;
      const second = b === undefined ? undefined : (order[b] as number);
      const people = second === undefined ? first : 10 * Math.min(first, second) + Math.max(first, second);
      form[order[person] as number] = rank + people;
    });
    const differs = form.findIndex((code, i) => code !== smallest[i]);
    if (differs !== -1 && (form[differs] as number) < (smallest[differs] as number))
      [smallest, form] = [form, smallest];
  }
  const written = (code: number) => {
    const claim = claims[Math.floor(code / 100)] as (typeof claims)[number];
    const digits = claim === 'same' || claim === 'different' ? 2 : 1;
    return `${claim}${String(code % 100).padStart(digits, '0')}`;
  };
  return smallest.map(written).join(',');
}

function sentence({ claim, of }: KnightsKnavesStatement, language: Language): string {
  const people = of.map((person) => names[person]);
  if (claim === 'knight' || claim === 'knave')
    return language === 'en' ? `${people[0]} is a ${claim}` : `${people[0]} es un ${speaker('es')(claim)}`;
  if (language === 'en')
    return `${people.join(' and ')} are ${claim === 'same' ? 'of the same kind' : 'of different kinds'}`;
  return `${people.join(' y ')} son ${claim === 'same' ? 'iguales' : 'distintos'}`;
}

export const knightsKnaves = makeFamily<'knights_knaves', KnightsKnavesFacts, readonly [number, boolean]>({
  name: 'knights_knaves',
  levels: [
    [3, false],
    [3, true],
    [4, true],
    [5, true],
  ],
  make(random, [people, pairs]) {
    for (;;) {
      // Claims about single people alone never settle who is who; level 1 has one comparison.
      const statements = draw(random, people, pairs);
      if (!pairs)
        statements[0] = {
          claim: random.pick(['same', 'different'] as const),
          of: random.pick([
            [0, 1],
            [0, 2],
            [1, 2],
          ]),
        };
      if (solutions({ statements }).length === 1) return { statements };
    }
  },
  form: smallestForm,
  phrases: {
    en: [
      'Knights tell the truth and knaves lie. {statements}. Who is a knight and who is a knave?',
      'A knight always tells the truth, a knave always lies. {statements}. What is each of them?',
    ],
    es: ['Los caballeros dicen la verdad y los bribones mienten. {statements}. ¿Qué es cada uno?'],
  },
  slots: ({ statements }, language) => ({
    statements: statements
      .map((statement, i) => `${names[i]} ${speaker(language)('says')}: ${sentence(statement, language)}`)
      .join('. '),
  }),
  answer: (facts) => write(solutions(facts)[0] as number, facts.statements.length, speaker('en')),
  read(text) {
    const found = parse(text);
    return found === null ? null : write(found.assignment, found.people, speaker('en'));
  },
  show(normal, language) {
    const { assignment, people } = parse(normal) as { assignment: number; people: number };
    return write(assignment, people, speaker(language));
  },
  steps: () => [],
  check({ statements }, candidate, say) {
    const { assignment } = parse(candidate) as { assignment: number };
    const lines: string[] = [];
    for (const [person, statement] of statements.entries()) {
      const truth = holds(statement, assignment);
      lines.push(
        `${names[person]} ${say(isKnight(assignment, person) ? 'knight' : 'knave')} ${say('says')} ${say(truth ? 'true' : 'false')}`,
      );
      if (truth !== isKnight(assignment, person)) break;
    }
    return lines;
  },
  guess: ({ statements }, random) =>
    write(random.integer(0, 2 ** statements.length), statements.length, speaker('en')),
  vocabulary: [
    ...names,
    ...[
      'is a',
      'es un',
      'and',
      'y',
      'are',
      'son',
      'of the same kind',
      'of different kinds',
      'iguales',
      'distintos',
    ],
    ...[':', '.', ',', '?'],
  ],
});
