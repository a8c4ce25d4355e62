/**
 * `shortest_path`: the moves of a shortest way through a grid with walls.
 *
 * Levels 1 to 4: 3 by 3, 4 by 4, 5 by 5 and 6 by 6, a fifth to a third of the cells walls. Every shortest way is right.
 * The derivation is breadth-first: `2: 13 22` lists the cells (row, column) at distance 2. A candidate is walked,
 * then its length compared with the distance.
 */
import { makeFamily } from '../task.ts';
import { compared } from './number-facts.ts';

/** The facts of a grid: rows joined, `S` start, `E` end, `#` wall, `.` free. */
export interface ShortestPathFacts {
  readonly size: number;
  readonly cells: string;
}

const steps = { U: [-1, 0], D: [1, 0], L: [0, -1], R: [0, 1] } as const;
type Move = keyof typeof steps;
const everyMove = Object.keys(steps) as Move[];

/** The cell after a move, or null at a wall or an edge. */
function after({ size, cells }: ShortestPathFacts, cell: number, move: Move): number | null {
  const [row, column] = [Math.floor(cell / size) + steps[move][0], (cell % size) + steps[move][1]];
  if (row < 0 || column < 0 || row >= size || column >= size) return null;
  return cells[row * size + column] === '#' ? null : row * size + column;
}

/** Distances from the start, in the order in which they are found, and the move that led to each cell. */
function search(
  facts: ShortestPathFacts,
): Map<number, { distance: number; move: Move | null; from: number }> {
  const start = facts.cells.indexOf('S');
  const found = new Map([[start, { distance: 0, move: null as Move | null, from: start }]]);
  for (const [cell, { distance }] of found)
    for (const move of everyMove) {
      const next = after(facts, cell, move);
      if (next !== null && !found.has(next)) found.set(next, { distance: distance + 1, move, from: cell });
    }
  return found;
}

function shortest(facts: ShortestPathFacts): Move[] {
  const found = search(facts);
  const path: Move[] = [];
  for (let at = found.get(facts.cells.indexOf('E')); at?.move; at = found.get(at.from)) path.push(at.move);
  return path.reverse();
}

const named = ({ size }: ShortestPathFacts, cell: number) =>
  `${Math.floor(cell / size) + 1}${(cell % size) + 1}`;

function walk(facts: ShortestPathFacts, moves: readonly Move[]): { cells: number[]; blocked: boolean } {
  const cells = [facts.cells.indexOf('S')];
  for (const move of moves) {
    const next = after(facts, cells.at(-1) as number, move);
    if (next === null) return { cells, blocked: true };
    cells.push(next);
  }
  return { cells, blocked: false };
}

const listed = (text: string) => text.split(' ') as Move[];

export const shortestPath = makeFamily<'shortest_path', ShortestPathFacts, readonly [number, number]>({
  name: 'shortest_path',
  levels: [
    [3, 0.2],
    [4, 0.25],
    [5, 0.3],
    [6, 0.33],
  ],
  make(random, [size, walls]) {
    for (;;) {
      const cells: string[] = Array.from({ length: size * size }, () =>
        random.uniform() < walls ? '#' : '.',
      );
      const [start, end] = random.shuffle(cells.map((_, i) => i)) as [number, number];
      cells[start] = 'S';
      cells[end] = 'E';
      const facts = { size, cells: cells.join('') };
      if (shortest(facts).length >= 2) return facts;
    }
  },
  form: ({ size, cells }) => `${size} ${cells}`,
  phrases: {
    en: [
      'Find the shortest path from S to E, moves U, D, L, R:\n{grid}',
      'Walls are #. What is a shortest way from S to E in U, D, L, R?\n{grid}',
    ],
    es: [
      'Halla el camino más corto de S a E con U, D, L, R:\n{grid}',
      'Los muros son #. ¿Camino más corto de S a E en U, D, L, R?\n{grid}',
    ],
  },
  slots: ({ size, cells }) => ({
    grid: Array.from({ length: size }, (_, row) => cells.slice(row * size, (row + 1) * size)).join('\n'),
  }),
  answer: (facts) => shortest(facts).join(' '),
  read(text) {
    const moves = text.toUpperCase().replaceAll(/[\s,]+/g, '');
    return /^[UDLR]{1,128}$/.test(moves) ? [...moves].join(' ') : null;
  },
  accepts(facts, normal) {
    const moves = listed(normal);
    const { cells, blocked } = walk(facts, moves);
    return !blocked && facts.cells[cells.at(-1) as number] === 'E' && moves.length === shortest(facts).length;
  },
  steps(facts) {
    const found = search(facts);
    const last = found.get(facts.cells.indexOf('E'))?.distance as number;
    const layers: string[][] = [];
    for (const [cell, { distance }] of found)
      if (distance <= last) (layers[distance] ??= []).push(named(facts, cell));
    return layers.map((cells, distance) => `${distance}: ${cells.join(' ')}`);
  },
  check(facts, candidate, say) {
    const moves = listed(candidate);
    const { cells, blocked } = walk(facts, moves);
    const lines = [
      cells.map((cell, i) => (i === 0 ? '' : `${moves[i - 1]} `) + named(facts, cell)).join(' '),
    ];
    if (blocked) return [...lines, `${moves[cells.length - 1]} ${say('wall')}`];
    lines.push(
      `${named(facts, cells.at(-1) as number)} ${say('goal')} ${named(facts, facts.cells.indexOf('E'))}`,
    );
    if (facts.cells[cells.at(-1) as number] === 'E')
      lines.push(compared(moves.length, shortest(facts).length));
    return lines;
  },
  guess(facts, random) {
    const moves = shortest(facts);
    const at = random.integer(0, moves.length);
    if (random.integer(0, 2) === 0) moves[at] = random.pick(everyMove);
    else moves.splice(at, 0, random.pick(everyMove));
    return moves.join(' ');
  },
  vocabulary: [...everyMove, 'S', 'E', '#', '.', ':', ',', '=', '<', '>', '?'],
});
