/**
 * The policy that a KL term holds on to: a frozen copy, which becomes the policy of now when it is refreshed
 * (DeepSeek-R1 does so every 400 steps).
 */
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import type { DeepSeekModel } from '@minke/transformer';
import type { Learner } from '../interfaces.ts';
import { LocalLearner } from '../local-learner.ts';
import { copyModel, type ModelCopy } from '../model-copy.ts';
import { readTensors, writeTensors } from '../run-store.ts';

export interface Reference extends Pick<Learner, 'forward'> {
  /** Becomes the policy as it is now. */
  refresh(): Promise<void>;
  saveState(folder: string): Promise<void>;
  loadState(folder: string): Promise<void>;
}

/** A reference in this process: a second model beside the policy's, without optimiser. */
export class LocalReference implements Reference {
  readonly #policy: DeepSeekModel;
  readonly #copy: ModelCopy;
  readonly #learner: LocalLearner;

  private constructor(policy: DeepSeekModel, copy: ModelCopy) {
    this.#policy = policy;
    this.#copy = copy;
    this.#learner = new LocalLearner(copy.model);
  }

  /** A copy of the policy as it is now; takes as much memory as its parameters. */
  static async of(policy: DeepSeekModel): Promise<LocalReference> {
    return new LocalReference(policy, await copyModel(policy, { label: 'reference' }));
  }

  forward(...call: Parameters<Reference['forward']>): Promise<readonly (readonly number[])[]> {
    return this.#learner.forward(...call);
  }

  refresh(): Promise<void> {
    return this.#learner.copyFrom(this.#policy);
  }

  async saveState(folder: string): Promise<void> {
    const entries = [...this.#learner.model.parameters()].map(
      async ([name, p]) => [name, { shape: p.shape, data: (await p.read()) as Float32Array }] as const,
    );
    await writeTensors(join(folder, 'reference.safetensors'), new Map(await Promise.all(entries)));
  }

  async loadState(folder: string): Promise<void> {
    const path = join(folder, 'reference.safetensors');
    const saved = await readTensors(path);
    for (const [name, parameter] of this.#learner.model.parameters()) {
      const data = saved.get(name);
      if (data?.length !== parameter.size)
        throw new MinkeError(
          'invalid-file',
          `${path}: expected ${name} with ${parameter.size} numbers, got ${data?.length ?? 'none'}; it belongs to another model`,
        );
      parameter.write(data);
    }
  }

  /** Gives its memory back. */
  async dispose(): Promise<void> {
    await this.#learner.dispose();
    this.#copy.arena.dispose();
  }
}
