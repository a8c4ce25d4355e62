/**
 * For tests: a real HTTP server over our own engine that speaks SGLang's and vLLM's endpoints for sampling and for
 * weights from disk, as far as the samplers use them. It refuses what the real ones refuse: updates out of order,
 * relative paths, more than one sample of a request.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isAbsolute } from 'node:path';
import type { Backend } from '@minke/core';
import { FolderSampler } from '../folder-sampler.ts';

/** What both servers take for one completion, under each one's names. */
interface Params {
  readonly n?: number;
  readonly temperature: number;
  readonly top_p: number;
  readonly top_k: number;
  readonly stop_token_ids: readonly number[];
  readonly max_new_tokens?: number;
  readonly max_tokens?: number;
  readonly sampling_seed?: number;
  readonly seed?: number;
}

/** Any body; fields of the other paths are missing. */
interface Body {
  readonly sampling_params: Params;
  readonly input_ids?: unknown;
  readonly token_ids?: unknown;
  readonly return_logprob?: unknown;
  readonly model_path?: unknown;
  readonly weight_version?: string;
  readonly update_info?: { readonly path?: unknown };
}

type Answer = (body: Body, url: URL) => Promise<unknown> | unknown;

/** A reply with a status of its own. */
export class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const refuseUnless = (holds: boolean, message: string, status = 400): void => {
  if (!holds) throw new Refusal(status, message);
};

export interface ModelServer {
  readonly baseURL: string;
  /** Paths asked for, in order. */
  readonly asked: string[];
  /** Replaces the answer to a path: what it returns is sent, undefined leaves the request open. */
  readonly answers: Map<string, (at: number, response: ServerResponse) => unknown>;
  /** Serves its first weights again, as after a restart. */
  restart(): void;
  close(): Promise<void>;
}

export async function startModelServer(backend: Backend): Promise<ModelServer> {
  const sampler = new FolderSampler(backend, { contextLength: 16, maxSequences: 64 });
  const asked: string[] = [];
  const answers: ModelServer['answers'] = new Map();
  let version = 'default';
  let state: 'running' | 'paused' | 'loading' | 'loaded' = 'running';
  let initialised = false;
  let sampling = 0;

  const load = async (path: unknown, named: unknown) => {
    refuseUnless(typeof path === 'string' && isAbsolute(path), `expected an absolute path, got ${path}`);
    // Requests whose client has left are still computed, on the weights of their time.
    while (sampling > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await sampler.update({ version: Number(named ?? 0), location: path as string });
  };
  const single = async (ids: unknown, params: Params, limit?: number, seed?: number) => {
    refuseUnless(Array.isArray(ids), 'expected token ids');
    refuseUnless((params.n ?? 1) === 1, 'expected n of 1');
    const { temperature, top_p: topP, top_k: topK, stop_token_ids: stopTokenIds } = params;
    sampling++;
    try {
      const [sample] = await sampler.sample({
        ...{ prompts: [ids as number[]], samplesPerPrompt: 1, maxNewTokens: limit ?? 16 },
        ...{ temperature, topP, topK: Math.max(topK, 0), stopTokenIds, seed: seed ?? 0 },
      });
      return sample as NonNullable<typeof sample>;
    } finally {
      sampling--;
    }
  };

  const routes: Record<string, Answer> = {
    async '/generate'(body) {
      const params = body.sampling_params;
      refuseUnless(body.return_logprob === true, 'expected return_logprob');
      const sample = await single(body.input_ids, params, params.max_new_tokens, params.sampling_seed);
      return {
        text: '',
        meta_info: {
          finish_reason: { type: sample.finish },
          output_token_logprobs: sample.tokens.map((id, t) => [sample.logProbs[t], id, null]),
          weight_version: version,
        },
      };
    },
    async '/update_weights_from_disk'(body) {
      await load(body.model_path, body.weight_version);
      version = body.weight_version ?? 'default';
      return { success: true, message: 'Succeeded to update model weights.', num_paused_requests: 0 };
    },
    async '/inference/v1/generate'(body) {
      refuseUnless(state === 'running', 'paused', 503);
      const params = body.sampling_params;
      const sample = await single(body.token_ids, params, params.max_tokens, params.seed);
      const content = sample.logProbs.map((logprob, t) => ({
        token: `token_id:${sample.tokens[t]}`,
        logprob,
      }));
      const choice = {
        index: 0,
        token_ids: sample.tokens,
        finish_reason: sample.finish,
        logprobs: { content },
      };
      return { request_id: 'r', choices: [choice] };
    },
    '/weight_info': () => ({ weight_version: version }),
    '/init_weight_transfer_engine'() {
      initialised = true;
      return { message: 'Weight transfer initialized' };
    },
    '/pause'(_, url) {
      refuseUnless(url.searchParams.get('clear_cache') === 'true', 'expected an empty cache');
      state = 'paused';
      return { status: 'paused' };
    },
    '/start_weight_update'() {
      refuseUnless(initialised && state === 'paused', `expected a paused server, got ${state}`);
      state = 'loading';
      return { message: 'Weight update started' };
    },
    async '/update_weights'(body) {
      refuseUnless(state === 'loading', `expected start_weight_update, got ${state}`);
      await load(body.update_info?.path, undefined);
      state = 'loaded';
      return { message: 'Weights updated' };
    },
    '/finish_weight_update'(body) {
      refuseUnless(state === 'loaded', `expected update_weights, got ${state}`);
      version = body.weight_version ?? 'default';
      state = 'paused';
      return { message: 'Weight update finished' };
    },
    '/resume'() {
      state = 'running';
      return { status: 'resumed' };
    },
  };

  const server = createServer(async (message, response) => {
    let text = '';
    for await (const chunk of message) text += chunk;
    const url = new URL(message.url as string, 'http://localhost');
    asked.push(url.pathname);
    const own = answers.get(url.pathname);
    try {
      if (own !== undefined) {
        const reply = own(asked.filter((path) => path === url.pathname).length - 1, response);
        if (reply !== undefined) response.end(typeof reply === 'string' ? reply : JSON.stringify(reply));
        return;
      }
      const route = routes[url.pathname];
      refuseUnless(route !== undefined, 'nothing here', 404);
      response.end(
        JSON.stringify(await (route as Answer)(text === '' ? ({} as Body) : JSON.parse(text), url)),
      );
    } catch (problem) {
      response.writeHead(problem instanceof Refusal ? problem.status : 500);
      response.end(String(problem));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    baseURL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    answers,
    restart() {
      version = 'default';
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await sampler.dispose();
    },
  };
}
