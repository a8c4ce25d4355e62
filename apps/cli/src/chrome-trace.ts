/**
 * Where a step's time goes, as a Chrome trace: open the file in chrome://tracing or https://ui.perfetto.dev.
 *
 * Source: "Trace Event Format", complete events (`ph: "X"`), times in microseconds. Commands of the backend lie on
 * one track, the phases that the program names on another. While a trace is taken commands run one by one.
 */
import { writeFileSync } from 'node:fs';
import { type Backend, MinkeError } from '@minke/core';

/** A complete event of the format. */
interface TraceEvent {
  readonly name: string;
  readonly cat: string;
  readonly ph: 'X';
  /** Microseconds. */
  readonly ts: number;
  readonly dur: number;
  readonly pid: 1;
  readonly tid: number;
  readonly args?: object;
}

const tracks = { phase: 1, command: 2 };

export class ChromeTrace {
  readonly #backend: Backend;
  readonly #events: TraceEvent[] = [];
  readonly #start = performance.now();

  /** Starts to watch. Throws `unsupported` for a backend that cannot time single commands. */
  constructor(backend: Backend) {
    if (backend.observe === undefined)
      throw new MinkeError(
        'unsupported',
        `trace: expected a backend that can time its commands (native or wasm), got ${backend.info.name}`,
      );
    this.#backend = backend;
    backend.observe(({ record, start, end }) => {
      const tensors = record.tensors.map(({ dtype, shape }) => `${dtype}[${shape.join(', ')}]`);
      this.#add('command', record.op, start, end, { tensors, attributes: record.attributes });
    });
  }

  /** Runs `f` as a named phase. */
  async phase<T>(name: string, f: () => T | Promise<T>): Promise<T> {
    const start = performance.now();
    const result = await f();
    this.#add('phase', name, start, performance.now());
    return result;
  }

  /** Milliseconds spent in each kind of command, most first. */
  totals(): { op: string; calls: number; ms: number }[] {
    const totals = new Map<string, { op: string; calls: number; ms: number }>();
    for (const { cat, name, dur } of this.#events) {
      if (cat !== 'command') continue;
      const total = totals.get(name) ?? { op: name, calls: 0, ms: 0 };
      totals.set(name, { op: name, calls: total.calls + 1, ms: total.ms + dur / 1000 });
    }
    return [...totals.values()].sort((a, b) => b.ms - a.ms);
  }

  /** Stops watching and writes the file. */
  save(file: string): void {
    this.#backend.observe?.(null);
    const { name, device, threads } = this.#backend.info;
    const label = (tid: number, text: string) => ({
      name: 'thread_name',
      ph: 'M',
      pid: 1,
      tid,
      args: { name: text },
    });
    const traceEvents = [
      label(tracks.phase, 'phases'),
      label(tracks.command, `commands (${name}, ${device}, ${threads} threads)`),
      ...this.#events,
    ];
    writeFileSync(file, JSON.stringify({ displayTimeUnit: 'ms', traceEvents }));
  }

  #add(cat: keyof typeof tracks, name: string, start: number, end: number, args?: object): void {
    const ts = (start - this.#start) * 1000;
    const event = { name, cat, ph: 'X', ts, dur: (end - start) * 1000, pid: 1, tid: tracks[cat] } as const;
    this.#events.push(args === undefined ? event : { ...event, args });
  }
}
