/**
 * Which split a problem belongs to, decided by a hash of its canonical form alone, so that no phrasing, mirror
 * or level of a test problem can occur in training, whatever the seeds.
 *
 * FNV-1a, 64 bits (Fowler, Noll, Vo; RFC 9923), over UTF-8, then the 64-bit finaliser of MurmurHash3
 * (Appleby), because the low bits of FNV alone mix poorly; mod 10.
 */
/** Disjoint parts of a family: about 80, 10 and 10 of 100 canonical problems. */
export type Split = 'train' | 'validation' | 'test';

const mask = (1n << 64n) - 1n;
const encoder = new TextEncoder();

/** A stable 64-bit hash of a text, as a bigint in [0, 2^64). */
export function hash64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of encoder.encode(text)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & mask;
  hash = ((hash ^ (hash >> 33n)) * 0xff51afd7ed558ccdn) & mask;
  hash = ((hash ^ (hash >> 33n)) * 0xc4ceb9fe1a85ec53n) & mask;
  return hash ^ (hash >> 33n);
}

/** The id of a canonical form: its hash as 16 hexadecimal digits. */
export function problemId(canonical: string): string {
  return hash64(canonical).toString(16).padStart(16, '0');
}

/**
 * The split of a problem: 1 of 10 is test, 1 of 10 validation, the rest train.
 *
 * @example
 * split(problem) === split({ canonical: problem.canonical }); // the phrasing plays no part
 */
export function split(problem: { readonly canonical: string }): Split {
  const bucket = hash64(problem.canonical) % 10n;
  return bucket === 0n ? 'test' : bucket === 1n ? 'validation' : 'train';
}
