/**
 * A sampler with weights of its own: it loads the first policy that it is given, a folder, and copies the weights of
 * later ones over it. The engine in `WorkerSampler`'s thread; in this thread, a second model beside the learner's.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Backend, check, MinkeError } from '@minke/core';
import { Engine, loadTextFormat } from '@minke/inference';
import { Arena, type Tensor } from '@minke/tensor';
import { type DeepSeekModel, loadModel } from '@minke/transformer';
import type { PolicyExport, Sample, SampleRequest, Sampler } from './interfaces.ts';
import { LocalSampler } from './local-sampler.ts';

/** Sizes of the engine. Plain data. */
export interface FolderSamplerOptions {
  /** Tokens of a prompt and its completion together, at most. Default: the model's context, at most 4096. */
  readonly contextLength?: number;
  /** Samples decoded together. Default 64. */
  readonly maxSequences?: number;
}

interface Opened {
  readonly model: DeepSeekModel;
  readonly engine: Engine;
  readonly sampler: LocalSampler;
}

/**
 * Stop texts need a tokenizer.json beside the first policy.
 *
 * @example
 * const sampler = new FolderSampler(await auto());
 * await sampler.update(await learner.exportForSampler()); // an ExportingLearner's
 */
export class FolderSampler implements Sampler {
  readonly #backend: Backend;
  readonly #options: FolderSamplerOptions;
  #opened: Opened | undefined;
  #sampling = 0;

  constructor(backend: Backend, options: FolderSamplerOptions = {}) {
    this.#backend = backend;
    this.#options = options;
  }

  async sample(request: SampleRequest, signal?: AbortSignal): Promise<Sample[]> {
    if (this.#opened === undefined)
      throw new MinkeError(
        'invalid-argument',
        'FolderSampler: expected a policy before the first request, got none; call update() first',
      );
    this.#sampling++;
    try {
      return await this.#opened.sampler.sample(request, signal);
    } finally {
      this.#sampling--;
    }
  }

  async update({ version, location }: PolicyExport): Promise<void> {
    if (location === null)
      throw new MinkeError(
        'unsupported',
        'FolderSampler: expected a policy in a folder, got one that shares its weights with a learner; wrap the learner in an ExportingLearner',
      );
    check(
      this.#sampling === 0,
      () =>
        `FolderSampler: expected no request under way at an update, got ${this.#sampling}; await them first`,
    );
    if (this.#opened === undefined) this.#opened = await this.#open(location);
    else await this.#copy(this.#opened.model, location);
    await this.#opened.sampler.update({ version, location: null });
  }

  /** Ends what is under way with `aborted`; the backend stays. */
  async dispose(): Promise<void> {
    await this.#opened?.engine.dispose();
    this.#opened = undefined;
  }

  async #open(folder: string): Promise<Opened> {
    const model = await loadModel(folder, { backend: this.#backend });
    const format = existsSync(join(folder, 'tokenizer.json')) ? await loadTextFormat(folder) : undefined;
    const { contextLength = Math.min(4096, model.config.maxPositions), maxSequences = 64 } = this.#options;
    const engine = new Engine(model, {
      ...{ maxSequences, contextLength, maxWaiting: 2 ** 20, promptChunk: 4096 },
      ...{ form: 'expanded', temperedLogProbs: true },
    });
    const decode = format && ((tokens: readonly number[]) => format.tokenizer.decode([...tokens]));
    return { model, engine, sampler: new LocalSampler(engine, decode && { decode }) };
  }

  async #copy(model: DeepSeekModel, folder: string): Promise<void> {
    const arena = new Arena(this.#backend, { persistent: true, label: 'new policy' });
    try {
      const fresh = (await loadModel(folder, { backend: this.#backend, arena })).parameters();
      for (const [name, own] of model.parameters()) {
        const tensor = fresh.get(name);
        if (tensor?.shape.join() !== own.shape.join())
          throw new MinkeError(
            'invalid-file',
            `${folder}: expected a policy of the same shape, got one that differs in ${name}`,
          );
        own.write(await (tensor as Tensor).read());
      }
    } finally {
      arena.dispose();
    }
  }
}
