/** Messages between a `WorkerSampler` and its thread. */
import type { BackendName } from '@minke/gpu-backends';
import type { FolderSamplerOptions } from './folder-sampler.ts';
import type { PolicyExport, Sample, SampleRequest } from './interfaces.ts';

/** How the thread computes. Plain data. */
export interface WorkerSamplerOptions extends FolderSamplerOptions {
  /** Name of a backend of `@minke/gpu-backends`. Default: the best there is. */
  readonly backend?: BackendName;
  /** Threads of the backend. Default: its own. */
  readonly threads?: number;
}

export type ToSampler =
  | { readonly type: 'update'; readonly id: number; readonly policy: PolicyExport }
  | { readonly type: 'sample'; readonly id: number; readonly request: SampleRequest }
  | { readonly type: 'cancel'; readonly id: number };

export type FromSampler =
  | { readonly type: 'done'; readonly id: number; readonly samples?: readonly Sample[] }
  | {
      readonly type: 'failed';
      readonly id: number;
      readonly code: string;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    };
