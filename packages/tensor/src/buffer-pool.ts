/**
 * Reusable device memory of one arena.
 *
 * Buffers are kept by type and size class (four classes an octave, so at most a quarter is slack). Because an
 * arena's commands run in order, memory released while recording may serve later commands of the same list at
 * once: such buffers are `touched`. Host writes overtake commands that are not submitted yet, so an upload
 * only takes buffers the open list has not touched. A request may also take a free buffer of up to twice its
 * size, which keeps memory flat when shapes vary from step to step.
 */
import { type Backend, type BackendBuffer, byteLength, type DType } from '@minke/core';

const SMALLEST_OCTAVE = 7;
const CLASSES_PER_OCTAVE = 4;

/** Free buffers of one type, by size class; the last one in is the first one out. */
interface Shelf {
  readonly touched: BackendBuffer[][];
  readonly clean: BackendBuffer[][];
}

/** Index and size, in elements, of the smallest class that holds `length`. Sizes are multiples of 32. */
export function sizeClass(length: number): { index: number; size: number } {
  const wanted = Math.max(length, 2 ** SMALLEST_OCTAVE);
  const octave = Math.floor(Math.log2(wanted));
  const base = 2 ** octave;
  const quarter = base / CLASSES_PER_OCTAVE;
  const step = Math.ceil((wanted - base) / quarter);
  return { index: (octave - SMALLEST_OCTAVE) * CLASSES_PER_OCTAVE + step, size: base + step * quarter };
}

export class BufferPool {
  readonly #backend: Backend;
  readonly #shelves = new Map<DType, Shelf>();
  /** Bytes this pool has from the backend, free or in use. */
  bytes = 0;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Memory for at least `length` elements. `clean`: not used by the open list, so the host may write to it. */
  take(dtype: DType, length: number, clean: boolean): BackendBuffer {
    const { index, size } = sizeClass(length);
    const shelf = this.#shelf(dtype);
    for (let i = index; i <= index + CLASSES_PER_OCTAVE; i++) {
      const buffer = (clean ? undefined : shelf.touched[i]?.pop()) ?? shelf.clean[i]?.pop();
      if (buffer !== undefined) return buffer;
    }
    const buffer = this.#backend.allocate(dtype, size);
    this.bytes += byteLength(dtype, size);
    return buffer;
  }

  /** Takes memory back; commands recorded later may use it. */
  give(buffer: BackendBuffer): void {
    const { touched } = this.#shelf(buffer.dtype);
    (touched[sizeClass(buffer.length).index] ??= []).push(buffer);
  }

  /** The open list was submitted: everything free may be written by the host again. */
  submitted(): void {
    for (const { touched, clean } of this.#shelves.values()) {
      touched.forEach((buffers, index) => {
        if (buffers.length > 0) (clean[index] ??= []).push(...buffers.splice(0));
      });
    }
  }

  /** Returns all free memory to the backend. Nothing may be recorded and not submitted. */
  drain(): void {
    for (const { touched, clean } of this.#shelves.values()) {
      for (const buffers of [...touched, ...clean]) {
        for (const buffer of buffers?.splice(0) ?? []) {
          this.bytes -= byteLength(buffer.dtype, buffer.length);
          this.#backend.release(buffer);
        }
      }
    }
  }

  #shelf(dtype: DType): Shelf {
    let shelf = this.#shelves.get(dtype);
    if (shelf === undefined) this.#shelves.set(dtype, (shelf = { touched: [], clean: [] }));
    return shelf;
  }
}
