/**
 * The logs of one stage as they grow: every `metrics.jsonl` and `samples.jsonl` in its folder, or in folders inside
 * it where a stage trains several models. Only the newest samples are kept.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type JsonLine, JsonLinesTail } from './json-lines.ts';

/** The logs of one trained model. */
export interface StageLog {
  /** Folder inside the stage's, with slashes; empty for the stage's own. */
  readonly name: string;
  readonly metrics: readonly JsonLine[];
  /** Newest last. */
  readonly samples: readonly JsonLine[];
}

const deepest = 3;
const passedBy = new Set(['checkpoints', 'model']);

/** Folders with logs inside a stage's folder, the stage's own first. */
export function logFolders(stageFolder: string): string[] {
  const visit = (name: string, depth: number): string[] => {
    const entries = readdirSync(join(stageFolder, name), { withFileTypes: true });
    const own = entries.some((entry) => ['metrics.jsonl', 'samples.jsonl'].includes(entry.name));
    const inner = entries
      .filter((entry) => entry.isDirectory() && !passedBy.has(entry.name) && depth < deepest)
      .map((entry) => (name === '' ? entry.name : `${name}/${entry.name}`))
      .sort();
    return [...(own ? [name] : []), ...inner.flatMap((folder) => visit(folder, depth + 1))];
  };
  try {
    return visit('', 0);
  } catch (problem) {
    // A folder that a stage removes or has yet to make.
    if ((problem as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw problem;
  }
}

interface Followed {
  readonly metricsTail: JsonLinesTail;
  readonly samplesTail: JsonLinesTail;
  metrics: JsonLine[];
  samples: JsonLine[];
}

export class StageLogs {
  readonly #folder: string;
  readonly #keptSamples: number;
  readonly #logs = new Map<string, Followed>();

  /** @param folder of the stage; @param keptSamples how many of the newest samples stay */
  constructor(folder: string, keptSamples = 24) {
    this.#folder = folder;
    this.#keptSamples = keptSamples;
  }

  /** Reads what is new; names of the logs that changed. */
  poll(): string[] {
    const changed: string[] = [];
    for (const name of logFolders(this.#folder)) {
      const log = this.#logs.get(name) ?? this.#open(name);
      const metrics = log.metricsTail.read();
      const samples = log.samplesTail.read();
      const news = [metrics, samples].some(({ lines, restarted }) => lines.length > 0 || restarted);
      if (news) changed.push(name);
      log.metrics = [...(metrics.restarted ? [] : log.metrics), ...metrics.lines];
      log.samples = [...(samples.restarted ? [] : log.samples), ...samples.lines].slice(-this.#keptSamples);
    }
    return changed;
  }

  /** What was read so far. */
  logs(): readonly StageLog[] {
    return [...this.#logs].map(([name, { metrics, samples }]) => ({ name, metrics, samples }));
  }

  #open(name: string): Followed {
    const folder = join(this.#folder, name);
    const tail = (file: string) => new JsonLinesTail(join(folder, file));
    const log = {
      metricsTail: tail('metrics.jsonl'),
      samplesTail: tail('samples.jsonl'),
      metrics: [],
      samples: [],
    };
    this.#logs.set(name, log);
    return log;
  }
}
