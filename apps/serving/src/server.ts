/**
 * The socket: binds, bounds how long a client may take, and goes down in good order.
 */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { MinkeError } from '@minke/core';
import { createApp } from './app.ts';
import type { EngineClient } from './engine-client.ts';

export interface ListenOptions {
  readonly host: string;
  /** 0 picks a free port. */
  readonly port: number;
  /** For a request's headers to arrive. Default 20 s. */
  readonly headersTimeoutMs?: number;
  /** For a whole request to arrive. Default 60 s. */
  readonly requestTimeoutMs?: number;
  /** For running requests to end once the server goes down. Default 5 s. */
  readonly drainMs?: number;
}

/** A listening server. */
export interface RunningServer {
  /** `http://127.0.0.1:8000`, for example. */
  readonly url: string;
  /**
   * Accepts nothing new, lets running requests end for a short time, then ends them and the engine. A second call
   * waits for the first.
   */
  close(): Promise<void>;
}

/** Binds and listens; takes over the engine. Rejects with `unsupported` when the address cannot be used. */
export async function listen(engine: EngineClient, options: ListenOptions): Promise<RunningServer> {
  const { host, port, headersTimeoutMs = 20_000, requestTimeoutMs = 60_000, drainMs = 5000 } = options;
  let closing: Promise<void> | undefined;
  const app = createApp(engine, { host, draining: () => closing !== undefined });
  const server = createAdaptorServer({
    fetch: app.fetch,
    serverOptions: {
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      connectionsCheckingInterval: Math.min(5000, headersTimeoutMs),
      keepAliveTimeout: 15_000,
    },
  }) as Server;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why =
        cause.code === 'EADDRINUSE'
          ? `port ${port} of ${host} is in use; choose another with --port`
          : `cannot listen on ${host}, port ${port}: ${cause.message}`;
      reject(new MinkeError('unsupported', `serve: ${why}`, { cause }));
    });
    server.listen(port, host, resolve);
  });
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    const timer = setTimeout(() => server.closeAllConnections(), drainMs);
    // Connections that are idle between requests are not waited for.
    const idle = setInterval(() => server.closeIdleConnections(), 50);
    await closed;
    clearTimeout(timer);
    clearInterval(idle);
    await engine.stop();
  };
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    close() {
      closing ??= close();
      return closing;
    },
  };
}
