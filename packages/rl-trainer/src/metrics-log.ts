/**
 * `metrics.jsonl` and `samples.jsonl`: one JSON object a line, appended as training goes. The byte length at a checkpoint is part
 * of the checkpoint, so that a resumed run continues the file as if it had never stopped.
 */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { check } from '@minke/core';
import { unwritten } from './atomic-file.ts';

export class MetricsLog {
  readonly #path: string;
  readonly #file: number;
  #bytes: number;

  /** Opens `path` for appending after its first `keepBytes` bytes; the rest belongs to lost steps and is cut. */
  constructor(path: string, keepBytes: number) {
    this.#path = path;
    this.#bytes = existsSync(path) ? Math.min(keepBytes, statSync(path).size) : 0;
    this.#file = openSync(path, existsSync(path) ? 'r+' : 'w');
    ftruncateSync(this.#file, this.#bytes);
  }

  /** Bytes written so far: what a checkpoint stores. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The last object written, as text. Throws when there is none. */
  lastLine(): string {
    const text = readFileSync(this.#path, 'utf8').trimEnd();
    check(text !== '', () => `MetricsLog: expected a line in ${this.#path}, got none`);
    return text.slice(text.lastIndexOf('\n') + 1);
  }

  /** Throws `out-of-memory` where the line cannot be written whole; what was written of it is cut at the next start. */
  append(record: Readonly<Record<string, unknown>>): void {
    const line = Buffer.from(`${JSON.stringify(record)}\n`);
    let written = 0;
    try {
      // A disk that is nearly full takes a part; the next write says why.
      while (written < line.length)
        written += writeSync(this.#file, line, written, line.length - written, this.#bytes + written);
    } catch (cause) {
      throw unwritten(this.#path, cause);
    }
    this.#bytes += written;
  }

  close(): void {
    closeSync(this.#file);
  }
}
