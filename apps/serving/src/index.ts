/**
 * The serving app: `serve()` starts the engine and the HTTP server, `startEngine()` the engine alone.
 */
import type { CacheType, QuantizedStorage } from '@minke/inference';
import { EngineClient } from './engine-client.ts';
import { type ListenOptions, listen, type RunningServer } from './server.ts';

/** Which model to load, and what computes it. */
export interface EngineStartOptions {
  /** Folder with config.json, safetensors and tokenizer.json. */
  readonly modelFolder: string;
  /** `native`, `wasm` or `reference`; default: the fastest here. */
  readonly backend?: string | undefined;
  /** Threads of the native backend. */
  readonly threads?: number | undefined;
  /** Requests computed together. Default 16. */
  readonly maxSequences?: number | undefined;
  /** Requests that may wait beyond those; more get 503. Default 256. */
  readonly maxWaiting?: number | undefined;
  /** Computes from weights rounded to 8 or 4 bits, `q8_0` or `q4_0`: less to read, slightly wrong. Default: exact. */
  readonly quantize?: QuantizedStorage | undefined;
  /** How past tokens are stored. Default: exactly. */
  readonly cacheType?: CacheType | undefined;
}

export interface ServeOptions extends EngineStartOptions, Partial<ListenOptions> {}

/**
 * The engine in a worker thread, without a server. Rejects with a clear error when the folder is no model.
 *
 * @example
 * const engine = await startEngine({ modelFolder: 'model' });
 * for await (const event of engine.chat(job, signal)) console.log(event);
 * await engine.stop();
 */
export function startEngine(options: EngineStartOptions): Promise<EngineClient> {
  const { modelFolder, backend, threads, maxSequences, maxWaiting, quantize, cacheType } = options;
  const script = new URL('./engine-worker.js', import.meta.url);
  const settings = { modelFolder, backend, threads, maxSequences, maxWaiting, quantize, cacheType };
  return EngineClient.start(script, settings);
}

/**
 * Loads the model and listens, on loopback and port 8000 unless said otherwise. Rejects with a clear error when
 * the folder is no model or the port is taken.
 *
 * @example
 * const server = await serve({ modelFolder: 'model', port: 8000 });
 * console.log(server.url); // http://127.0.0.1:8000
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const engine = await startEngine(options);
  try {
    return await listen(engine, { host: '127.0.0.1', port: 8000, ...options });
  } catch (problem) {
    await engine.stop();
    throw problem;
  }
}

export type { ChatEvent, EngineClient } from './engine-client.ts';
export type { ChatJob, ModelFacts, Usage } from './engine-protocol.ts';
export type { ListenOptions, RunningServer } from './server.ts';
