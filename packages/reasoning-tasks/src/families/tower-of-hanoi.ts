/**
 * `tower_of_hanoi`: move disks from one arrangement to another, never a larger one onto a smaller one.
 *
 * Levels 1 to 4: 2 to 5 disks, any arrangement to any other. `AAB` says where disks 1 (the smallest), 2 and 3 are; a
 * move is two letters, from and to. Any legal sequence that arrives is right, up to 4 times the longest that can be
 * needed; the gold one is a shortest, by breadth-first search. Thoughts write the arrangement after every move.
 */
import type { Random } from '@minke/core';
import { makeFamily } from '../task.ts';

/** The facts of a tower problem: the peg of every disk, smallest first. */
export interface TowerOfHanoiFacts {
  readonly start: string;
  readonly goal: string;
}

const moves = ['AB', 'AC', 'BA', 'BC', 'CA', 'CB'] as const;

/** The arrangement after a move, or null for an illegal one. */
function moved(state: string, move: string): string | null {
  const [from, to] = [state.indexOf(move[0] as string), state.indexOf(move[1] as string)];
  if (from === -1 || (to !== -1 && to < from)) return null;
  return state.slice(0, from) + move[1] + state.slice(from + 1);
}

function shortest({ start, goal }: TowerOfHanoiFacts): string[] {
  const before = new Map<string, readonly [state: string, move: string] | null>([[start, null]]);
  for (const state of before.keys()) {
    if (state === goal) break;
    for (const move of moves) {
      const next = moved(state, move);
      if (next !== null && !before.has(next)) before.set(next, [state, move]);
    }
  }
  const path: string[] = [];
  for (let step = before.get(goal); step; step = before.get(step[0])) path.push(step[1]);
  return path.reverse();
}

/** The lines of a sequence up to its first illegal move, and where it arrives. */
function walk(start: string, sequence: readonly string[]): { lines: string[]; end: string | null } {
  const lines: string[] = [];
  let state = start;
  for (const move of sequence) {
    const next = moved(state, move);
    if (next === null) return { lines, end: null };
    lines.push(`${move} ${next}`);
    state = next;
  }
  return { lines, end: state };
}

function arrangement(random: Random, disks: number): string {
  return Array.from({ length: disks }, () => random.pick(['A', 'B', 'C'])).join('');
}

export const towerOfHanoi = makeFamily<'tower_of_hanoi', TowerOfHanoiFacts, number>({
  name: 'tower_of_hanoi',
  levels: [2, 3, 4, 5],
  make(random, disks) {
    for (;;) {
      const [start, goal] = [arrangement(random, disks), arrangement(random, disks)];
      if (start !== goal) return { start, goal };
    }
  },
  // Forth and back is one problem.
  form: ({ start, goal }) => [start, goal].sort().join('-'),
  phrases: {
    en: [
      'Tower of Hanoi: the disks are at {start}. Move them to {goal}.',
      'Give the Tower of Hanoi moves from {start} to {goal}.',
      'Disks at {start}, to be moved to {goal}, none onto a smaller one. Which moves?',
    ],
    es: [
      'Torres de Hanói: los discos están en {start}. Llévalos a {goal}.',
      'Da los movimientos de Hanói de {start} a {goal}.',
    ],
  },
  slots: ({ start, goal }) => ({ start, goal }),
  answer: (facts) => shortest(facts).join(' '),
  read(text) {
    const sequence = text
      .split(/[\s,;]+/)
      .map((move) => move.replace(/^([ABC])(?:->|→|-)?([ABC])$/i, '$1$2').toUpperCase());
    return sequence.length <= 128 && sequence.every((move) => (moves as readonly string[]).includes(move))
      ? sequence.join(' ')
      : null;
  },
  accepts({ start, goal }, normal) {
    const sequence = normal.split(' ');
    return sequence.length < 2 ** (start.length + 2) && walk(start, sequence).end === goal;
  },
  steps: (facts) => walk(facts.start, shortest(facts)).lines,
  check({ start, goal }, candidate) {
    const { lines, end } = walk(start, candidate.split(' '));
    return [...lines, `${end} ${goal}`];
  },
  guess(facts, random) {
    const sequence: string[] = [];
    for (let state = facts.start; sequence.length < shortest(facts).length; ) {
      const move = random.pick(moves.filter((one) => moved(state, one) !== null));
      state = moved(state, move) as string;
      sequence.push(move);
    }
    return sequence.join(' ');
  },
  vocabulary: [...moves, 'A', 'B', 'C', ':', '?'],
});
