/**
 * Memory behind tensors, and who has commands for it that are recorded but not submitted.
 *
 * Several arenas record commands independently, and shared memory (parameters, gradients, caches) is used by
 * many of them. Commands must take effect in the order in which they were recorded, so an arena that reads
 * memory another one is about to write, or writes memory another one is about to read, makes the other submit
 * first.
 */
import type { BackendBuffer } from '@minke/core';
import type { Arena } from './arena.ts';

export class Storage {
  readonly buffer: BackendBuffer;
  readonly arena: Arena;
  /** Tensors that hold this memory: views and aliases count. */
  handles = 0;
  live = true;
  /** Whether the host filled this memory. */
  uploaded = false;
  /** Whether several arenas may use this memory: that of persistent arenas, and what was adopted. */
  shared: boolean;
  /** Arenas with open commands that use this memory, when it is shared. */
  readonly users = new Set<Arena>();
  /** The arena with an open command that writes this memory. */
  writer: Arena | null = null;
  /** Grows with every write to shared memory: what is derived from it (packed weights) can tell that it is stale. */
  version = 0;
  /** Whether no operation may use this memory, because it stands for numbers that are only there packed. */
  stands = false;

  constructor(buffer: BackendBuffer, arena: Arena) {
    this.buffer = buffer;
    this.arena = arena;
    this.shared = arena.persistent;
  }

  /** Makes every arena but `except` submit its open commands on this memory. */
  settle(except: Arena | null): void {
    for (const user of [...this.users]) if (user !== except) user.submit();
  }
}
