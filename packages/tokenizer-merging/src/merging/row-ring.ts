/**
 * The latest rows of each sequence, where they stay until later ones take their place.
 */
import { type Arena, call, scatterRows, type Tensor } from '@minke/tensor';
import { indices, takeRows } from './rows.ts';

/** Rows of two tables. */
export interface MovedRow {
  readonly from: number;
  readonly to: number;
}

/** Row n of a sequence lies at n mod `each` of its part of the table. */
export class RowRing {
  /** [sequences * each, D] */
  readonly table: Tensor;
  /** Rows of a sequence that are kept. */
  readonly each: number;

  constructor(arena: Arena, sequences: number, each: number, width: number) {
    this.table = arena.zeros([sequences * each, width]);
    this.each = each;
  }

  /** Bytes of device memory held. */
  get bytes(): number {
    return 4 * this.table.size;
  }

  /** Row of the table for the n-th row of a sequence. */
  row(sequence: number, n: number): number {
    return sequence * this.each + (n % this.each);
  }

  /** Makes sequence `to` hold the rows of `from`; recorded in `arena`. */
  copySequence(arena: Arena, from: number, to: number): void {
    if (this.each === 0) return;
    const part = (sequence: number) => this.table.rows(sequence * this.each, (sequence + 1) * this.each);
    call('copyInto', [part(from), part(to)], {}, arena);
  }

  /** Takes over rows of another ring; recorded in `arena`. */
  copyRows(arena: Arena, { table }: RowRing, rows: readonly MovedRow[]): void {
    if (rows.length === 0) return;
    const [taken, places] = [rows.map(({ from }) => from), rows.map(({ to }) => to)];
    scatterRows(takeRows(table, taken, arena), indices(arena, places), this.table);
  }
}
