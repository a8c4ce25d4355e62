/** Whether a model runs in the memory of this machine, by how its weights are held. */
import { freemem, totalmem } from 'node:os';
import { generationBytes, type WeightStorage, weightBytes, weightStorages } from '@minke/cost-planner';
import type { ModelConfig } from '@minke/transformer';

/** Memory of this machine, in bytes. */
export interface MachineMemory {
  /** Of the machine, or what a container may have of it. */
  readonly total: number;
  /** Not used by other programs now. */
  readonly free: number;
}

/** What weights in one storage type take. */
export interface Fit {
  readonly storage: WeightStorage;
  readonly weights: number;
  /** Weights, cache and the program itself. */
  readonly needed: number;
  /** Now; once other programs end; not on this machine. */
  readonly fits: 'yes' | 'if others end' | 'no';
}

/** The program, its buffers and activations. */
const programBytes = 300e6;

export function machineMemory(): MachineMemory {
  const limit = process.constrainedMemory(); // 0, or more than there is: none
  const total = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return { total, free: Math.min(total, freemem()) };
}

/** @param tokens of one conversation, prompt included */
export function fitsIn({ total, free }: MachineMemory, config: ModelConfig, tokens: number): Fit[] {
  return weightStorages.map((storage) => {
    const needed = generationBytes(config, { storage, tokens }) + programBytes;
    const fits = needed <= free ? 'yes' : needed <= total ? 'if others end' : 'no';
    return { storage, weights: weightBytes(config, storage), needed, fits };
  });
}
