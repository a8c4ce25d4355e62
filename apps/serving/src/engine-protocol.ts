/**
 * Messages between the HTTP thread and the engine's worker thread. Plain data only.
 */
import type { CacheType, EngineLoad, QuantizedStorage } from '@minke/inference';
import type { ChatMessage } from '@minke/tokenizer-merging/chat';

/** What `GET /v1/models` and the page tell about the loaded model. */
export interface ModelFacts {
  readonly id: string;
  readonly parameters: number;
  readonly contextLength: number;
  /** `native avx512, 2 threads`, for example. */
  readonly backend: string;
  /** One sentence for the page. */
  readonly description: string;
  /** What it can and cannot do. */
  readonly ability: string;
  readonly examples: readonly string[];
  /** `single`: every question is answered alone, earlier turns would only confuse it. */
  readonly turns: 'single' | 'multi';
}

export interface ChatJob {
  readonly messages: readonly ChatMessage[];
  readonly maxTokens: number | undefined;
  readonly temperature: number | undefined;
  readonly topP: number | undefined;
  readonly topK: number | undefined;
  readonly minP: number | undefined;
  readonly seed: number | undefined;
  readonly stop: readonly string[];
}

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Of the completion, tokens of the thought, its end tag included. */
  readonly reasoningTokens: number;
}

export type ToWorker =
  | { type: 'chat'; id: number; job: ChatJob }
  | { type: 'cancel'; id: number }
  | { type: 'load'; id: number };

export type FromWorker =
  | { type: 'ready'; facts: ModelFacts }
  | { type: 'failed'; code: string; message: string }
  | { type: 'load'; id: number; load: EngineLoad }
  | { type: 'admitted'; id: number }
  | { type: 'part'; id: number; thought?: string; text?: string }
  | { type: 'end'; id: number; finish: 'stop' | 'length'; usage: Usage }
  | { type: 'error'; id: number; code: string; message: string; details: Record<string, unknown> };

/** How the worker is started. */
export interface WorkerOptions {
  readonly modelFolder: string;
  /** A backend's name; the fastest here where it is undefined. */
  readonly backend: string | undefined;
  readonly threads: number | undefined;
  /** Requests computed together. */
  readonly maxSequences: number | undefined;
  /** Requests that may wait beyond those. */
  readonly maxWaiting: number | undefined;
  /** Rounds weights; exact where it is undefined. */
  readonly quantize?: QuantizedStorage | undefined;
  /** How past tokens are stored. Default: exactly. */
  readonly cacheType?: CacheType | undefined;
}
