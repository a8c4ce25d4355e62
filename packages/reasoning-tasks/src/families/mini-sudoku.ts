/**
 * `mini_sudoku`: a 4 by 4 Sudoku; every row, column and 2 by 2 box holds 1 to 4 once.
 *
 * Levels 1 to 4: 4, 6, 8 and 10 empty cells, each puzzle solvable by cells with a single possible digit, so its
 * solution is unique and the derivation needs no guess: `12: 134 2` is row 1, column 2, the digits it sees, and the
 * one left. A candidate is checked by writing its rows, columns and boxes; a digit that stands twice is named.
 */
import type { Random } from '@minke/core';
import { makeFamily } from '../task.ts';

/** The facts of a puzzle: 16 cells by rows, `0` where empty. */
export interface MiniSudokuFacts {
  readonly cells: string;
}

const range = [0, 1, 2, 3] as const;
const boxOf = (cell: number) => 2 * Math.floor(cell / 8) + (Math.floor(cell / 2) % 2);
const everyCell = Array.from({ length: 16 }, (_, i) => i);

/** The cells of rows, columns and boxes. */
const units: readonly (readonly number[])[] = [
  ...range.map((row) => everyCell.filter((cell) => Math.floor(cell / 4) === row)),
  ...range.map((column) => everyCell.filter((cell) => cell % 4 === column)),
  ...range.map((box) => everyCell.filter((cell) => boxOf(cell) === box)),
];

/** The cells that share a unit with a cell. */
const peers = everyCell.map((cell) => [...new Set(units.filter((unit) => unit.includes(cell)).flat())]);

function seen(cells: readonly string[], cell: number): string {
  const digits = new Set((peers[cell] as readonly number[]).map((peer) => cells[peer] as string));
  digits.delete('0');
  return [...digits].sort().join('');
}

/** Fills cells with a single possible digit until none is left. */
function solve(puzzle: string): { solution: string; lines: string[] } {
  const cells = [...puzzle];
  const lines: string[] = [];
  for (let progress = true; progress; ) {
    progress = false;
    for (const cell of everyCell) {
      if (cells[cell] !== '0') continue;
      const digits = seen(cells, cell);
      if (digits.length !== 3) continue;
      cells[cell] = [...'1234'].find((digit) => !digits.includes(digit)) as string;
      lines.push(`${Math.floor(cell / 4) + 1}${(cell % 4) + 1}: ${digits} ${cells[cell]}`);
      progress = true;
    }
  }
  return { solution: cells.join(''), lines };
}

/** A full grid: one of the 288, by exchanging lines within bands, bands, digits, and rows with columns. */
function grid(random: Random): string[] {
  const order = () => {
    const bands = random.shuffle([0, 2]);
    return bands.flatMap((band) => random.shuffle([band, band + 1]));
  };
  const [rows, columns, digits] = [order(), order(), random.shuffle([...'1234'])];
  const base = random.pick(['1234341221434321', '1234341223414123']);
  const turned = random.integer(0, 2) === 0;
  return everyCell.map((cell) => {
    const [row, column] = [rows[Math.floor(cell / 4)] as number, columns[cell % 4] as number];
    return digits[Number(base[turned ? column * 4 + row : row * 4 + column]) - 1] as string;
  });
}

const inRows = (cells: string) => (cells.match(/.{4}/g) as string[]).join(' ');
const fits = (puzzle: string, cells: string) =>
  everyCell.every((cell) => puzzle[cell] === '0' || puzzle[cell] === cells[cell]);
const pick = (cells: string, unit: readonly number[]) => unit.map((cell) => cells[cell]).join('');

export const miniSudoku = makeFamily<'mini_sudoku', MiniSudokuFacts, number>({
  name: 'mini_sudoku',
  levels: [4, 6, 8, 10],
  make(random, empty) {
    for (;;) {
      const cells = grid(random);
      let left = empty;
      for (const cell of random.shuffle([...everyCell])) {
        if (left === 0) return { cells: cells.join('') };
        const digit = cells[cell] as string;
        cells[cell] = '0';
        if (solve(cells.join('')).solution.includes('0')) cells[cell] = digit;
        else left--;
      }
    }
  },
  form: ({ cells }) => cells,
  phrases: {
    en: [
      'Solve this 4x4 Mini Sudoku: {grid}',
      'Fill in the 4x4 Sudoku {grid}',
      'Complete the grid so that every row, column and 2x2 box has 1 to 4: {grid}',
    ],
    es: ['Resuelve este Sudoku de 4x4: {grid}', 'Completa el Sudoku de 4x4 {grid}'],
  },
  slots: ({ cells }) => ({ grid: inRows(cells.replaceAll('0', '_')) }),
  answer: ({ cells }) => inRows(solve(cells).solution),
  read(text) {
    const digits = text.replaceAll(/[\s,|]+/g, '');
    return /^[1-4]{16}$/.test(digits) ? inRows(digits) : null;
  },
  accepts({ cells }, normal) {
    const filled = normal.replaceAll(' ', '');
    return fits(cells, filled) && units.every((unit) => new Set(pick(filled, unit)).size === 4);
  },
  steps: ({ cells }) => solve(cells).lines,
  check(_, candidate, say) {
    const cells = candidate.replaceAll(' ', '');
    const lines: string[] = [];
    for (const kind of [0, 4, 8]) {
      const group = units.slice(kind, kind + 4).map((unit) => pick(cells, unit));
      lines.push(group.join(' '));
      const bad = group.find((digits) => new Set(digits).size < 4);
      if (bad !== undefined)
        return [...lines, `${bad} ${say('twice')} ${[...bad].find((d, i) => bad.indexOf(d) !== i)}`];
    }
    return lines;
  },
  guess({ cells }, random) {
    const filled = [...solve(cells).solution];
    const empty = everyCell.filter((cell) => cells[cell] === '0');
    const cell = random.pick(empty);
    filled[cell] = random.pick([...'1234']);
    return inRows(filled.join(''));
  },
  vocabulary: ['_', ':', 'x', '4x4', '2x2'],
});
