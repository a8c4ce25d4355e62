/** Clients that leave, full queues, slow clients, signals, a dead engine: nothing leaks, nothing hangs. */
import { connect } from 'node:net';
import type { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { EngineClient } from './engine-client.ts';
import { listen, type RunningServer } from './server.ts';
import {
  assertBuilt,
  eventually,
  idle,
  loadOf,
  type ServerProcess,
  startServer,
  workerScript,
} from './testing/server-process.ts';
import { writeSpeakingModel } from './testing/speaking-model.ts';

let model: Awaited<ReturnType<typeof writeSpeakingModel>>;
beforeAll(async () => {
  assertBuilt();
  model = await writeSpeakingModel({ endless: true });
});
afterAll(() => model?.remove());

const endless = { model: 'speaking', messages: [{ role: 'user', content: 'Go on.' }] };
const short = { ...endless, max_tokens: 2 };

function post(url: string, body: object, signal?: AbortSignal): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(signal && { signal }),
  });
}

/** Reads a stream until its first piece of thought; returns a function that reads the rest. */
async function firstThought(response: Response): Promise<() => Promise<string>> {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let text = '';
  const more = async () => {
    const { value, done } = await reader.read();
    if (value) text += decoder.decode(value, { stream: true });
    return !done;
  };
  while (!/"reasoning_content":"[^"]/.test(text))
    if (!(await more())) throw new Error(`the stream ended early: ${text}`);
  return async () => {
    while (await more());
    return text;
  };
}

describe('a server with one place and one seat to wait', () => {
  let server: ServerProcess;
  beforeAll(async () => {
    server = await startServer([model.folder, '--max-sequences', '1', '--max-waiting', '1']);
  });
  afterAll(() => server?.stop());
  afterEach(async () => {
    await idle(server.url);
    expect((await post(server.url, short)).status).toBe(200);
  });

  it('frees the engine when a client leaves in the middle of a stream', async () => {
    const client = new AbortController();
    const response = await post(server.url, { ...endless, stream: true }, client.signal);
    await firstThought(response);
    expect((await loadOf(server.url)).running).toBe(1);
    client.abort();
  });

  it('frees the engine when a client leaves before a whole answer is there', async () => {
    const client = new AbortController();
    const answer = post(server.url, endless, client.signal);
    await eventually(async () => (await loadOf(server.url)).running === 1, 'a running request');
    client.abort();
    await expect(answer).rejects.toThrow();
  });

  it('frees the seat when a client leaves while waiting', async () => {
    const [first, second] = [new AbortController(), new AbortController()];
    const running = post(server.url, { ...endless, stream: true }, first.signal);
    await firstThought(await running);
    const waiting = post(server.url, endless, second.signal);
    await eventually(async () => (await loadOf(server.url)).waiting === 1, 'a waiting request');
    second.abort();
    await expect(waiting).rejects.toThrow();
    await eventually(async () => (await loadOf(server.url)).waiting === 0, 'an empty queue');
    first.abort();
  });

  it('refuses what does not fit its queue with 503 and Retry-After before anything is sent', async () => {
    const client = new AbortController();
    const asked = Array.from({ length: 12 }, () =>
      post(server.url, { ...endless, stream: true }, client.signal),
    );
    const replies = await Promise.all(asked);
    // The one that runs may end before the last is asked, and leave its place to another.
    expect(replies.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(2);
    const refused = replies.find(({ status }) => status !== 200) as Response;
    expect(refused.status).toBe(503);
    expect(refused.headers.get('content-type')).toMatch(/^application\/json/);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ error: { type: 'unavailable_error' } });
    client.abort();
  });

  it('ends a thought at the end of the context', async () => {
    const response = await post(server.url, endless);
    expect(await response.json()).toMatchObject({
      choices: [{ finish_reason: 'length', message: { content: '' } }],
    });
  });
});

describe('signals', () => {
  it('SIGTERM while a stream runs: nothing new is taken, the running one may end, exit code 0', async () => {
    const server = await startServer([model.folder]);
    const rest = await firstThought(await post(server.url, { ...endless, stream: true, max_tokens: 60 }));
    const ended = server.stop('SIGTERM');
    expect(await rest()).toContain('[DONE]');
    const { code, ms } = await ended;
    expect(code).toBe(0);
    expect(ms).toBeLessThan(9000);
    await expect(fetch(`${server.url}/health`)).rejects.toThrow();
    expect(server.errors()).toBe('');
  });

  it('SIGINT on an idle server with a kept-alive connection: exit code 130, at once', async () => {
    const server = await startServer([model.folder]);
    await loadOf(server.url);
    const { code, ms } = await server.stop('SIGINT');
    expect(code).toBe(130);
    expect(ms).toBeLessThan(3000);
  });

  it('a port in use is one clear line and exit code 1', async () => {
    const server = await startServer([model.folder]);
    const { port } = new URL(server.url);
    await expect(startServer([model.folder, '--port', port])).rejects.toThrow(
      new RegExp(`code 1: minke: serve: port ${port} of 127.0.0.1 is in use; choose another with --port\\n$`),
    );
    await server.stop();
  });

  it('a folder that is no model is one clear line', async () => {
    await expect(startServer([import.meta.dirname])).rejects.toThrow(/code 1: minke: .*tokenizer\.json.*\n$/);
    await expect(startServer(['/no/such/folder'])).rejects.toThrow(/code 2: error: .*does not exist\n$/);
  });
});

describe('in this process', () => {
  const workers: Worker[] = [];
  let engine: EngineClient;
  let server: RunningServer;
  beforeAll(async () => {
    const options = {
      modelFolder: model.folder,
      backend: undefined,
      threads: 1,
      maxSequences: 1,
      maxWaiting: 1,
    };
    engine = await EngineClient.start(workerScript, options, (worker) => workers.push(worker));
    server = await listen(engine, {
      host: '127.0.0.1',
      port: 0,
      headersTimeoutMs: 300,
      requestTimeoutMs: 600,
    });
  });
  afterAll(() => server?.close());

  function slowly(text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1', () => socket.write(text));
      let received = '';
      socket.setEncoding('utf8').on('data', (data: string) => {
        received += data;
      });
      socket.on('error', reject).on('close', () => resolve(received));
    });
  }

  it('gives up clients that do not finish their headers or their body', async () => {
    const post = 'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n';
    const log = vi.spyOn(console, 'error');
    expect(await slowly(post)).toMatch(/^HTTP\/1\.1 408/);
    const json = 'content-type: application/json\r\n';
    expect(await slowly(`${post}${json}content-length: 100\r\n\r\n{"model":`)).toMatch(/^HTTP\/1\.1 408/);
    expect(await slowly(`${post}${json}transfer-encoding: chunked\r\n\r\n9\r\n{"model":\r\n`)).toMatch(
      /^HTTP\/1\.1 408/,
    );
    expect(await loadOf(server.url)).toEqual({ status: 'ok', running: 0, waiting: 0 });
    expect(log).not.toHaveBeenCalled();
  });

  it('tells of a dead engine: an error event in the stream, 503 for everything after', async () => {
    const rest = await firstThought(await post(server.url, { ...endless, stream: true }));
    const [worker] = workers;
    await worker?.terminate();
    const events = (await rest()).trim().split('\n\n');
    expect(JSON.parse((events.at(-1) as string).slice(6))).toMatchObject({
      error: { type: 'unavailable_error', message: 'the engine has ended; restart the server' },
    });
    for (const answer of [await fetch(`${server.url}/health`), await post(server.url, short)]) {
      expect(answer.status).toBe(503);
      expect(await answer.json()).toMatchObject({
        error: { message: 'the engine has ended; restart the server' },
      });
    }
    expect((await fetch(server.url)).status).toBe(200); // the page still says what is wrong
  });
});
