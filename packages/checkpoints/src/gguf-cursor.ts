/**
 * Reading a GGUF header from front to back: little-endian numbers and strings out of a window that moves over the file.
 *
 * Nothing is allocated for a length that the file does not hold: `claim` refuses it first. So memory is bounded by the
 * bytes there are, and time by one pass over them.
 */
import { type ByteSource, MinkeError } from '@minke/core';

/** Bytes read at a time. */
const windowBytes = 1 << 20;

export class GgufCursor {
  readonly #source: ByteSource;
  readonly #where: string;
  readonly #limit: number;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  #bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** Place of the window in the file. */
  #start = 0;
  #at = 0;

  /**
   * @param where the beginning of every error message.
   * @param limit bytes of the file that a header may take.
   */
  constructor(source: ByteSource, where: string, limit: number) {
    this.#source = source;
    this.#where = where;
    this.#limit = limit;
  }

  /** Bytes from the beginning of the file to here. */
  get position(): number {
    return this.#start + this.#at;
  }

  error(problem: string, code: 'invalid-file' | 'unsupported' = 'invalid-file'): MinkeError {
    return new MinkeError(code, `${this.#where}: ${problem} (at byte ${this.position})`);
  }

  /** Throws unless `count` things of at least `bytesEach` bytes can still follow. */
  claim(count: number | bigint, bytesEach: number, what: string): number {
    const left = this.#source.size - this.position;
    if (BigInt(count) * BigInt(bytesEach) > BigInt(left))
      throw this.error(
        `it promises ${count} ${what} of at least ${bytesEach} bytes each, but only ${left} bytes follow; it is broken or cut short, download it again`,
      );
    if (BigInt(count) * BigInt(bytesEach) > BigInt(this.#limit - this.position))
      throw this.error(
        `expected a header of at most ${this.#limit} bytes, got one with ${count} ${what}`,
        'unsupported',
      );
    return Number(count);
  }

  /** Makes the next `length` bytes readable. */
  async need(length: number, what: string): Promise<void> {
    if (this.#at + length <= this.#bytes.length) return;
    this.claim(length, 1, `bytes of ${what}`);
    this.#start += this.#at;
    this.#at = 0;
    const wanted = Math.min(Math.max(length, windowBytes), this.#source.size - this.#start);
    this.#bytes = await this.#source.read(this.#start, wanted);
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
  }

  /** Whether the next `length` bytes are readable without waiting. */
  has(length: number): boolean {
    return this.#at + length <= this.#bytes.length;
  }

  /** Bytes that were made readable; a view that the next `need` may leave behind. */
  take(length: number): Uint8Array {
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  async u32(what: string): Promise<number> {
    if (!this.has(4)) await this.need(4, what);
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  async u64(what: string): Promise<bigint> {
    if (!this.has(8)) await this.need(8, what);
    this.#at += 8;
    return this.#view.getBigUint64(this.#at - 8, true);
  }

  /** A count of at most `most` things of at least `bytesEach` bytes that follow. */
  async count(what: string, bytesEach: number, most: number): Promise<number> {
    const count = this.claim(await this.u64(`the number of ${what}`), bytesEach, what);
    if (count > most) throw this.error(`expected at most ${most} ${what}, got ${count}`, 'unsupported');
    return count;
  }

  /** A length and as many bytes of UTF-8. */
  async string(what: string, longest: number): Promise<string> {
    const length = await this.u64(`the length of ${what}`);
    if (length > BigInt(longest))
      throw this.error(`expected ${what} of at most ${longest} bytes, got ${length}`);
    const bytes = Number(length);
    if (!this.has(bytes)) await this.need(bytes, what);
    const text = this.take(bytes);
    const ascii = text.length <= 32 ? asciiOf(text) : undefined;
    if (ascii !== undefined) return ascii;
    try {
      return this.#decoder.decode(text);
    } catch {
      throw this.error(`${what} is not UTF-8`);
    }
  }
}

/** Short plain text, faster than a decoder's call; undefined for anything else. */
function asciiOf(bytes: Uint8Array): string | undefined {
  for (const byte of bytes) if (byte >= 0x80) return undefined;
  return String.fromCharCode(...bytes);
}
