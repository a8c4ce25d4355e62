/** What tests do with generators of rows. */
import { createHash } from 'node:crypto';

/** The first rows of a generator. */
export function firstRows<T>(at: (position: number) => T, count = 1000): T[] {
  return Array.from({ length: count }, (_, position) => at(position));
}

/** A short hash of plain data, to pin what a generator makes. */
export function fingerprint(rows: unknown): string {
  return createHash('sha256').update(JSON.stringify(rows)).digest('hex').slice(0, 16);
}
