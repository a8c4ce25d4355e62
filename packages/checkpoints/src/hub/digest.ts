/**
 * The two digests by which a hub names content: SHA-256 for files in large-file storage, and git's own
 * SHA-1 of `blob <size>\0` and the content for the others.
 */
import { createHash, type Hash } from 'node:crypto';

/** A digest that is known beforehand. */
export interface Digest {
  readonly algorithm: 'sha256' | 'git-sha1';
  /** 64 or 40 hexadecimal digits. */
  readonly hex: string;
}

/** What an entity tag says of content; undefined where it is neither of the two. */
export function digestOf(tag: string): Digest | undefined {
  if (/^[0-9a-f]{64}$/.test(tag)) return { algorithm: 'sha256', hex: tag };
  return /^[0-9a-f]{40}$/.test(tag) ? { algorithm: 'git-sha1', hex: tag } : undefined;
}

/** A sum to be updated with all `size` bytes. */
export function startDigest({ algorithm }: Digest, size: number): Hash {
  return algorithm === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
}
