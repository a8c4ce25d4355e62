/**
 * The local page of a run: a few fixed files and a stream of server-sent events, on loopback only.
 *
 * A page of another site cannot read it: a Host that is not loopback (DNS rebinding) is refused, no cross-origin
 * permission is ever given, and there is nothing to change here. No path of a request reaches the file system.
 */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { MinkeError } from '@minke/core';
import { Hono } from 'hono';
import { type SSEStreamingApi, streamSSE } from 'hono/streaming';
import { pageFiles, pageHeaders } from '../page-files.ts';
import { RunFeed } from './feed.ts';

export interface PageServer {
  /** `http://127.0.0.1:7300`, for example. */
  readonly url: string;
  /** Tells the readers the rest and that the run is over, then closes. */
  close(): Promise<void>;
}

const pollMs = 500;
const mostReaders = 16;
const keepAliveMs = 15_000;
const loopback = new Set(['localhost', '127.0.0.1', '[::1]']);

/** The routes, without a socket. */
function createPageApp(feed: RunFeed, readers: Set<SSEStreamingApi>): Hono {
  const app = new Hono();
  app.use(async (c, next) => {
    const name = (c.req.header('host') ?? '').replace(/:\d+$/, '');
    if (!loopback.has(name)) return c.text('expected a loopback address', 403);
    if (c.req.method !== 'GET' && c.req.method !== 'HEAD')
      return c.text('expected GET', 405, { allow: 'GET, HEAD' });
    return next();
  });
  app.get('/events', (c) => {
    if (readers.size >= mostReaders) return c.text(`expected at most ${mostReaders} readers`, 503);
    for (const [name, value] of Object.entries(pageHeaders)) c.header(name, value);
    return streamSSE(c, async (stream) => {
      const left = new Promise<void>((resolve) => stream.onAbort(resolve));
      readers.add(stream);
      try {
        for (const message of feed.snapshot()) await stream.writeSSE(message);
        const alive = setInterval(() => void stream.write(': still here\n\n'), keepAliveMs);
        await Promise.race([left, closed(stream)]);
        clearInterval(alive);
      } finally {
        readers.delete(stream);
      }
    });
  });
  app.get('*', async (c) => {
    const file = Object.hasOwn(pageFiles, c.req.path) ? pageFiles[c.req.path] : undefined;
    if (file === undefined) return c.text('there is nothing at this address', 404);
    const bytes = new Uint8Array(await file.read());
    return c.body(bytes, 200, { 'content-type': `${file.type}; charset=utf-8`, ...pageHeaders });
  });
  return app;
}

/**
 * Listens and follows the run's folder. Rejects with `unsupported` when the port cannot be used.
 *
 * @param port 0 picks a free one
 */
export async function servePage(run: string, port: number): Promise<PageServer> {
  const feed = new RunFeed(run, complain);
  const readers = new Set<SSEStreamingApi>();
  const server = createAdaptorServer({
    fetch: createPageApp(feed, readers).fetch,
    serverOptions: { headersTimeout: 20_000, requestTimeout: 60_000, keepAliveTimeout: 15_000 },
  }) as Server;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why =
        cause.code === 'EADDRINUSE'
          ? `port ${port} is in use; choose another`
          : `${cause.message}; choose another port`;
      reject(
        new MinkeError('unsupported', `page: expected to listen on port ${port} of 127.0.0.1, but ${why}`, {
          cause,
        }),
      );
    });
    server.listen(port, '127.0.0.1', resolve);
  });
  const tell = async (): Promise<void> => {
    const news = feed.poll();
    await Promise.all(
      [...readers].map(async (reader) => {
        for (const message of news) await reader.writeSSE(message);
      }),
    );
  };
  const timer = setInterval(() => void tell().catch(complain), pollMs);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      clearInterval(timer);
      await tell().catch(complain);
      const ended = new Promise<void>((resolve) => server.close(() => resolve()));
      await Promise.all(
        [...readers].map(async (reader) => {
          await reader.writeSSE({ event: 'over', data: '{}' });
          await reader.close();
        }),
      );
      server.closeIdleConnections();
      setTimeout(() => server.closeAllConnections(), 1000).unref();
      await ended;
    },
  };
}

/** A damaged file is the run's to report; the page goes on with what it knows. */
function complain(problem: Error): void {
  process.stderr.write(`page: ${problem.message}\n`);
}

async function closed(stream: SSEStreamingApi): Promise<void> {
  while (!stream.closed && !stream.aborted) await stream.sleep(pollMs);
}
