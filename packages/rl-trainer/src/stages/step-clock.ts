/**
 * Where the time of a step goes. The figures are wall-clock: a resumed run has others, so `withoutClock` takes them
 * out of a line of metrics before two runs are compared.
 */

export type StepPart = 'sampling' | 'rewards' | 'reference' | 'update' | 'critic';

const parts: readonly StepPart[] = ['sampling', 'rewards', 'reference', 'update'];
/** Named only in steps that have it. */
const optional: readonly StepPart[] = ['critic'];

export class StepClock {
  readonly #started = performance.now();
  readonly #spent: Record<StepPart, number> = {
    ...{ sampling: 0, rewards: 0, reference: 0, update: 0, critic: 0 },
  };

  /** Adds the time until `call` is over to a part. */
  async time<T>(part: StepPart, call: () => Promise<T>): Promise<T> {
    const before = performance.now();
    try {
      return await call();
    } finally {
      this.#spent[part] += performance.now() - before;
    }
  }

  /** Milliseconds of a part so far. */
  spent(part: StepPart): number {
    return this.#spent[part];
  }

  /**
   * `step_time` in seconds, `time/{part}` as shares of it, and tokens a second, sampled while sampling and trained
   * while updating; 0 where nothing was sampled. `samplingMs`: what sampling took beside the step.
   */
  read(tokens: {
    readonly sampled: number;
    readonly trained: number;
    readonly samplingMs?: number | undefined;
  }): Record<string, number> {
    const total = performance.now() - this.#started;
    const rate = (count: number, ms: number) => (count === 0 ? 0 : (1000 * count) / Math.max(ms, 1e-3));
    const { sampling, update } = this.#spent;
    return {
      step_time: total / 1000,
      ...Object.fromEntries(
        [...parts, ...optional.filter((part) => this.#spent[part] > 0)].map((part) => [
          `time/${part}`,
          this.#spent[part] / total,
        ]),
      ),
      'throughput/sampled_tokens_per_second': rate(tokens.sampled, tokens.samplingMs ?? sampling),
      'throughput/trained_tokens_per_second': rate(tokens.trained, update),
    };
  }
}

/** A line of metrics without its wall-clock figures. */
export function withoutClock<T>(metrics: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(
    Object.entries(metrics).filter(([name]) => !/^(step_time$|time\/|throughput\/)/.test(name)),
  );
}
