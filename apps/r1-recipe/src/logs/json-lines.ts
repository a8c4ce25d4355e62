/**
 * Follows a file of JSON lines that another part of the program writes: each call gives what is new and complete.
 *
 * A resumed stage cuts its file back to its checkpoint and goes on from there; then the reading starts over. A line
 * that is not an object is left out: logs are for looking at, and one bad line must not hide the rest.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs';

export type JsonLine = Readonly<Record<string, unknown>>;

export class JsonLinesTail {
  readonly #path: string;
  /** Bytes of complete lines read so far. */
  #offset = 0;
  /** The end of what was read: what is there after a cut and new lines is something else. */
  #last = Buffer.alloc(0);

  constructor(path: string) {
    this.#path = path;
  }

  /** New lines, and whether they replace those given before. */
  read(): { readonly lines: readonly JsonLine[]; readonly restarted: boolean } {
    const file = openOrNot(this.#path);
    if (file === undefined) return { lines: [], restarted: this.#restart() };
    try {
      const { size } = statSync(this.#path);
      const restarted = this.#changed(file, size) && this.#restart();
      const text = readBytes(file, this.#offset, size - this.#offset);
      const whole = text.subarray(0, text.lastIndexOf(10) + 1);
      if (whole.length > 0) this.#last = Buffer.from(whole.subarray(-256));
      this.#offset += whole.length;
      return { lines: parseLines(whole.toString('utf8')), restarted };
    } finally {
      closeSync(file);
    }
  }

  #changed(file: number, size: number): boolean {
    if (size < this.#offset) return true;
    const { length } = this.#last;
    return !readBytes(file, this.#offset - length, length).equals(this.#last);
  }

  #restart(): boolean {
    const read = this.#offset > 0;
    this.#offset = 0;
    this.#last = Buffer.alloc(0);
    return read;
  }
}

/** All complete lines of a file; none where there is no file. */
export function readJsonLines(path: string): readonly JsonLine[] {
  return new JsonLinesTail(path).read().lines;
}

function parseLines(text: string): JsonLine[] {
  return text.split('\n').flatMap((line) => {
    try {
      const value = JSON.parse(line) as unknown;
      return typeof value === 'object' && value !== null && !Array.isArray(value) ? [value as JsonLine] : [];
    } catch {
      return [];
    }
  });
}

function openOrNot(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch (problem) {
    if ((problem as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw problem;
  }
}

function readBytes(file: number, offset: number, length: number): Buffer {
  const buffer = Buffer.alloc(Math.max(0, length));
  let at = 0;
  while (at < buffer.length) {
    const n = readSync(file, buffer, at, buffer.length - at, offset + at);
    if (n === 0) break;
    at += n;
  }
  return buffer.subarray(0, at);
}
