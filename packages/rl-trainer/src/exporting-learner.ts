/**
 * A learner whose policies go to samplers as folders, one for each version: for a sampler in another thread, in another
 * process, or on another machine that sees the same disk (vLLM and SGLang load such folders).
 *
 * A folder is written under a temporary name and renamed, so that whoever sees it sees all of it. While the version stays
 * the same (as when only a critic learns) the folder stays: a sampler may be reading it.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { check } from '@minke/core';
import type { Learner, PolicyExport } from './interfaces.ts';

/** Where policies go. */
export interface ExportOptions {
  /** Made if missing; each policy is a folder `v0000012` in it. */
  readonly folder: string;
  /** Writes the policy as it is now into an empty folder, in full precision where log-probabilities must be equal. */
  readonly write: (folder: string) => Promise<void>;
  /** Newest policies that stay. Default 8; asynchronous runs need as many as rollouts are sampled ahead, and one. */
  readonly keep?: number;
}

const pattern = /^v(\d{7,})$/;

/**
 * Everything but `exportForSampler` is the other learner's.
 *
 * @example
 * const write = (folder: string) => saveLanguageModel(language, folder, { dtype: 'f32' });
 * const learner = new ExportingLearner(local.learner, { folder: 'run/weights', write });
 */
export class ExportingLearner implements Learner {
  readonly #learner: Learner;
  readonly #options: ExportOptions;
  /** What was written last, of the weights of now where the version is theirs. */
  #written: PolicyExport | undefined;

  constructor(learner: Learner, options: ExportOptions) {
    const { keep = 8 } = options;
    check(
      Number.isSafeInteger(keep) && keep >= 1,
      () => `ExportingLearner: expected to keep 1 or more, got ${keep}`,
    );
    this.#learner = learner;
    this.#options = options;
  }

  async exportForSampler(): Promise<PolicyExport> {
    const { folder, write, keep = 8 } = this.#options;
    const { version } = await this.#learner.exportForSampler();
    if (this.#written?.version === version) return this.#written;
    const location = join(folder, `v${String(version).padStart(7, '0')}`);
    const temporary = `${location}.tmp`;
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(temporary, { recursive: true });
    await write(temporary);
    // One of the same version is of steps that a kill has undone.
    if (existsSync(location)) rmSync(location, { recursive: true });
    renameSync(temporary, location);
    const versions = readdirSync(folder).flatMap((name) => {
      const found = pattern.exec(name)?.[1];
      return found === undefined ? [] : [{ name, version: Number(found) }];
    });
    // Later ones were of an undone future, and are written again.
    const earlier = versions.filter((one) => one.version <= version).sort((a, b) => a.version - b.version);
    for (const { name } of [...earlier.slice(0, -keep), ...versions.filter((one) => one.version > version)])
      rmSync(join(folder, name), { recursive: true, force: true });
    this.#written = { version, location };
    return this.#written;
  }

  forward(...call: Parameters<Learner['forward']>): ReturnType<Learner['forward']> {
    return this.#learner.forward(...call);
  }

  forwardBackward(...call: Parameters<Learner['forwardBackward']>): ReturnType<Learner['forwardBackward']> {
    return this.#learner.forwardBackward(...call);
  }

  optimStep(...call: Parameters<Learner['optimStep']>): ReturnType<Learner['optimStep']> {
    return this.#learner.optimStep(...call);
  }

  saveState(folder: string): Promise<void> {
    return this.#learner.saveState(folder);
  }

  loadState(folder: string): Promise<void> {
    this.#written = undefined;
    return this.#learner.loadState(folder);
  }
}
