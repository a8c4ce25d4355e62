/**
 * Bounded cache from a pre-token's UTF-8 to its ids: two generations of a hash table, the older dropped when the newer
 * fills, so that the frequent pieces of ordinary text survive and memory stays fixed whatever is encoded.
 *
 * Everything lies in a few typed arrays, so a look-up makes no objects. A piece looks at `probes` places of the table and
 * is not kept where all of them are taken: text made to collide costs what uncached text costs.
 */
import type { IdBuffer } from './id-buffer.ts';

/** Pieces of more bytes or ids than this are not kept. */
const maxPieceBytes = 128;
const probes = 8;
/** Numbers of an entry: hash, where its bytes begin, where its ids begin, how many bytes and ids (16 bits each). */
const entrySize = 4;

/** At most `2 * most` pieces of at most 128 bytes: 3 to 6 MB at the default with ordinary text, 40 MB at worst. */
export class PieceCache {
  private young: Generation;
  private old: Generation | undefined;

  constructor(private readonly most = 32_768) {
    this.young = new Generation(most);
  }

  /** Pieces that are kept. */
  get size(): number {
    return this.young.size + (this.old?.size ?? 0);
  }

  /** Appends the ids of the piece [from, to) to `out`; false where it is not kept. `hash` is `hashOf` of the piece. */
  read(bytes: Uint8Array, from: number, to: number, hash: number, out: IdBuffer): boolean {
    const { young, old } = this;
    let entry = young.find(bytes, from, to, hash);
    if (entry >= 0) {
      young.write(entry, out);
      return true;
    }
    if (old === undefined) return false;
    entry = old.find(bytes, from, to, hash);
    if (entry < 0) return false;
    const ids = old.idsOf(entry);
    out.pushAll(ids, 0, ids.length);
    this.keep(bytes, from, to, hash, ids, ids.length);
    return true;
  }

  /** Keeps `ids[0..count)` for a piece that `read` did not find. */
  keep(bytes: Uint8Array, from: number, to: number, hash: number, ids: Int32Array, count: number): void {
    if (to - from > maxPieceBytes) return;
    if (this.young.size >= this.most) {
      this.old = this.young;
      this.young = new Generation(this.most);
    }
    this.young.add(bytes, from, to, hash, ids, count);
  }
}

/** The hash of a piece (FNV-1a). */
export function hashOf(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  return hash ^ (hash >>> 15);
}

class Generation {
  size = 0;
  /** Entry number plus one, 0 where free; twice as many as entries. */
  private slots = new Int32Array(0);
  private entries = new Int32Array(0);
  private keys = new Uint8Array(0);
  private ids = new Int32Array(0);
  private keyBytes = 0;
  private idCount = 0;

  constructor(private readonly most: number) {}

  /** The piece's entry, or -1. */
  find(bytes: Uint8Array, from: number, to: number, hash: number): number {
    const { slots, entries, keys } = this;
    const mask = slots.length - 1;
    const length = to - from;
    if (length > maxPieceBytes || mask < 0) return -1;
    for (let probe = 0; probe < probes; probe++) {
      const entry = slots[(hash + probe) & mask]! - 1;
      if (entry < 0) return -1;
      const at = entry * entrySize;
      if (entries[at] !== hash || (entries[at + 3]! & 0xffff) !== length) continue;
      const start = entries[at + 1]!;
      let i = 0;
      while (i < length && keys[start + i] === bytes[from + i]) i++;
      if (i === length) return entry;
    }
    return -1;
  }

  /** Appends an entry's ids. */
  write(entry: number, out: IdBuffer): void {
    const at = entry * entrySize;
    out.pushAll(this.ids, this.entries[at + 2]!, this.entries[at + 3]! >>> 16);
  }

  idsOf(entry: number): Int32Array {
    const start = this.entries[entry * entrySize + 2]!;
    return this.ids.slice(start, start + (this.entries[entry * entrySize + 3]! >>> 16));
  }

  add(bytes: Uint8Array, from: number, to: number, hash: number, ids: Int32Array, count: number): void {
    if (this.slots.length < 2 * (this.size + 1)) this.growSlots();
    const slot = this.freeSlot(hash);
    if (slot < 0) return;
    const length = to - from;
    this.keys = grown(this.keys, this.keyBytes + length);
    this.ids = grown(this.ids, this.idCount + count);
    for (let i = 0; i < length; i++) this.keys[this.keyBytes + i] = bytes[from + i]!;
    for (let i = 0; i < count; i++) this.ids[this.idCount + i] = ids[i]!;
    const at = this.size * entrySize;
    this.entries[at] = hash;
    this.entries[at + 1] = this.keyBytes;
    this.entries[at + 2] = this.idCount;
    this.entries[at + 3] = length | (count << 16);
    this.slots[slot] = ++this.size;
    this.keyBytes += length;
    this.idCount += count;
  }

  private freeSlot(hash: number): number {
    const mask = this.slots.length - 1;
    for (let probe = 0; probe < probes; probe++)
      if (this.slots[(hash + probe) & mask] === 0) return (hash + probe) & mask;
    return -1;
  }

  private growSlots(): void {
    const size = Math.max(512, 2 * this.slots.length);
    this.slots = new Int32Array(size);
    this.entries = grown(this.entries, Math.min(this.most, size / 2) * entrySize);
    for (let entry = 0; entry < this.size; entry++) {
      const slot = this.freeSlot(this.entries[entry * entrySize]!);
      if (slot >= 0) this.slots[slot] = entry + 1;
    }
  }
}

function grown<A extends Uint8Array | Int32Array>(array: A, length: number): A {
  if (length <= array.length) return array;
  const larger = new (array.constructor as new (length: number) => A)(
    Math.max(2 * array.length, length, 1024),
  );
  larger.set(array);
  return larger;
}
