/**
 * The policy that a KL term holds on to: a frozen copy, which becomes the policy of now when it is refreshed
 * (DeepSeek-R1 does so every 400 steps). Of a policy with an adapter the copy is another adapter on the same base, which
 * begins at zero: the base alone.
 */
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import { Arena, type Tensor } from '@minke/tensor';
import { DeepSeekModel } from '@minke/transformer';
import type { Learner } from '../interfaces.ts';
import { LocalLearner } from '../local-learner.ts';
import { readTensors, writeTensors } from '../run-store.ts';

export interface Reference extends Pick<Learner, 'forward'> {
  /** Becomes the policy as it is now. */
  refresh(): Promise<void>;
  saveState(folder: string): Promise<void>;
  loadState(folder: string): Promise<void>;
}

/** A reference in this process: a second model, or a second adapter, beside the policy's, without optimiser. */
export class LocalReference implements Reference {
  readonly #policy: DeepSeekModel;
  readonly #arena: Arena;
  readonly #learner: LocalLearner;

  private constructor(policy: DeepSeekModel) {
    this.#policy = policy;
    this.#arena = new Arena(policy.backend, { persistent: true, label: 'reference' });
    this.#learner = new LocalLearner(this.#empty());
  }

  /**
   * A copy of the policy as it is now, which takes as much memory as its parameters; for a policy with an adapter the
   * base without it, which takes as much as the adapter.
   */
  static async of(policy: DeepSeekModel): Promise<LocalReference> {
    const reference = new LocalReference(policy);
    if (policy.lora === null) await reference.refresh();
    return reference;
  }

  forward(...call: Parameters<Reference['forward']>): Promise<readonly (readonly number[])[]> {
    return this.#learner.forward(...call);
  }

  refresh(): Promise<void> {
    return this.#learner.copyFrom(this.#policy);
  }

  async saveState(folder: string): Promise<void> {
    const entries = [...this.#learner.model.trainable()].map(
      async ([name, p]) => [name, { shape: p.shape, data: (await p.read()) as Float32Array }] as const,
    );
    await writeTensors(join(folder, 'reference.safetensors'), new Map(await Promise.all(entries)));
  }

  async loadState(folder: string): Promise<void> {
    const path = join(folder, 'reference.safetensors');
    const saved = await readTensors(path);
    for (const [name, parameter] of this.#learner.model.trainable()) {
      const data = saved.get(name);
      if (data?.length !== parameter.size)
        throw new MinkeError(
          'invalid-file',
          `${path}: expected ${name} with ${parameter.size} numbers, got ${data?.length ?? 'none'}; it belongs to another model`,
        );
      parameter.write(data);
    }
  }

  /** A model of the policy's shape with zeros where the policy is trained. */
  #empty(): DeepSeekModel {
    const zeros = ({ shape }: Tensor) => this.#arena.zeros(shape);
    const { config, lora } = this.#policy;
    if (lora === null)
      return new DeepSeekModel(
        config,
        new Map([...this.#policy.parameters()].map(([name, p]) => [name, zeros(p)])),
      );
    const pairs = [...lora.pairs].map(
      ([name, { a, b, scale }]) => [name, { a: zeros(a), b: zeros(b), scale }] as const,
    );
    return this.#policy.withLora({ config: lora.config, pairs: new Map(pairs) });
  }

  /** Gives its memory back. */
  async dispose(): Promise<void> {
    await this.#learner.dispose();
    this.#arena.dispose();
  }
}
