/**
 * The routes: chat completions, model list, health, and the chat page. Every error is JSON.
 *
 * A request from another site's page cannot reach a server bound to loopback: a Host that is not this server's
 * (DNS rebinding) is refused, and a body must be declared as JSON, which a page may not send across origins
 * without a preflight that is never granted.
 */
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { ApiError, errorResponse, toApiError } from './api-error.ts';
import { chatCompletions } from './chat-completions.ts';
import { parseChatRequest } from './chat-request.ts';
import type { EngineClient } from './engine-client.ts';
import { pageFile } from './page-files.ts';

/** Largest accepted body, bytes. */
export const bodyLimitBytes = 4 * 1024 * 1024;

const loopback = new Set(['localhost', '127.0.0.1', '[::1]', '::1']);

/** What the routes need to know of the server they run in. */
export interface AppOptions {
  /** Address the server binds to. */
  readonly host: string;
  /** True once the server is going down: no new work. */
  readonly draining: () => boolean;
}

/** The routes, without a socket. */
export function createApp(engine: EngineClient, { host, draining }: AppOptions): Hono {
  const app = new Hono();
  const { facts } = engine;
  const created = Math.floor(Date.now() / 1000);
  const entry = { id: facts.id, object: 'model', created, owned_by: 'minke', minke: facts };
  const known = (id: string): void => {
    if (id === facts.id) return;
    const message = `model: expected ${facts.id}, got ${id.slice(0, 200)}`;
    throw new ApiError(404, 'not_found_error', message, { param: 'model', code: 'model_not_found' });
  };

  app.use(async (c, next) => {
    const name = (c.req.header('host') ?? '').replace(/:\d+$/, '');
    if (loopback.has(host) && !loopback.has(name)) {
      throw new ApiError(403, 'invalid_request_error', `host: expected this server's address, got ${name}`);
    }
    await next();
  });

  const health = async (c: Context): Promise<Response> => {
    if (draining()) throw new ApiError(503, 'unavailable_error', 'the server is going down');
    const load = await engine.load();
    if (load === undefined) {
      const why = engine.alive ? 'the engine does not answer' : 'the engine has ended; restart the server';
      throw new ApiError(503, 'unavailable_error', why);
    }
    return c.json({ status: 'ok', ...load });
  };
  const complete = async (c: Context): Promise<Response> => {
    if (draining()) throw new ApiError(503, 'unavailable_error', 'the server is going down');
    const request = parseChatRequest(await jsonBody(c));
    known(request.model);
    return chatCompletions(c, engine, request);
  };
  const limit = bodyLimit({
    maxSize: bodyLimitBytes,
    onError: () => {
      throw new ApiError(413, 'invalid_request_error', `body: expected at most ${bodyLimitBytes} bytes`);
    },
  });

  app.get('/health', health);
  app.get('/v1/models', (c) => c.json({ object: 'list', data: [entry] }));
  app.get('/v1/models/:id{.+}', (c) => {
    known(c.req.param('id'));
    return c.json(entry);
  });
  // DeepSeek's clients leave the version out of the base URL.
  for (const path of ['/v1/chat/completions', '/chat/completions']) {
    app.post(path, limit, complete);
    app.all(path, (c) => wrongMethod(c, 'POST'));
  }
  app.get('*', async (c) => {
    const file = await pageFile(c.req.path);
    if (file === undefined) throw nothingAt(c.req.path);
    return c.body(file.bytes, 200, file.headers);
  });
  app.all('*', async (c) => {
    const served = /^\/(health|v1\/models(\/.+)?)$/.test(c.req.path) || (await pageFile(c.req.path));
    if (!served) throw nothingAt(c.req.path);
    return wrongMethod(c, 'GET, HEAD');
  });
  app.onError((problem) => errorResponse(toApiError(problem)));
  return app;
}

function nothingAt(path: string): ApiError {
  return new ApiError(404, 'not_found_error', `${path.slice(0, 200)}: there is nothing at this address`);
}

/** 405, or the plain answer to OPTIONS: what is allowed. */
function wrongMethod(c: Context, allow: string): Response {
  if (c.req.method === 'OPTIONS') return c.body(null, 204, { allow: `${allow}, OPTIONS` });
  const error = new ApiError(
    405,
    'invalid_request_error',
    `${c.req.method} ${c.req.path}: expected ${allow}`,
  );
  return errorResponse(error, { allow });
}

async function jsonBody(c: Context): Promise<unknown> {
  const type = (c.req.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json') {
    const message = `content-type: expected application/json, got ${type || 'none'}`;
    throw new ApiError(415, 'invalid_request_error', message);
  }
  const bytes = await c.req.arrayBuffer();
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ApiError(400, 'invalid_request_error', 'body: expected UTF-8');
  }
  try {
    return JSON.parse(text);
  } catch (problem) {
    throw new ApiError(
      400,
      'invalid_request_error',
      `body: expected JSON, got ${(problem as Error).message}`,
    );
  }
}
