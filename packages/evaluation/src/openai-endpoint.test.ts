import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { endpointSampler } from './openai-endpoint.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A server that answers with what `respond` says, and remembers the requests. */
async function serve(respond: (body: Record<string, unknown>, at: number, res: ServerResponse) => unknown) {
  const requests: { body: Record<string, unknown>; message: IncomingMessage }[] = [];
  const server = createServer(async (message, res) => {
    let text = '';
    for await (const chunk of message) text += chunk;
    const body = JSON.parse(text);
    requests.push({ body, message });
    const answer = respond(body, requests.length - 1, res);
    if (answer !== undefined) res.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { requests, baseURL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1` };
}

const chat = (message: Record<string, unknown>, finish = 'stop', tokens = 7) => ({
  choices: [{ message: { role: 'assistant', ...message }, finish_reason: finish }],
  usage: { completion_tokens: tokens },
});

describe('endpointSampler', () => {
  it('asks for each sample and puts thought and answer together', async () => {
    const { baseURL, requests } = await serve(({ messages }) => {
      const [{ content }] = messages as [{ content: string }];
      return {
        deepseek: chat({ content: '4', reasoning_content: '2+2' }),
        openrouter: chat({ content: '4', reasoning: '2+2' }),
        tags: chat({ content: '<think>2+2</think>4' }),
        plain: chat({ content: '4' }),
        cut: chat({ content: '', reasoning_content: '2+' }, 'length', 99),
        open: chat({ content: '<think>2+' }, 'length'),
      }[content];
    });
    const sample = endpointSampler({
      baseURL: `${baseURL}/`,
      model: 'm',
      apiKey: 'k',
      seed: 10,
      temperature: 1,
      topP: 1,
      maxTokens: 5,
    });
    const rows = await sample(['deepseek', 'openrouter', 'tags', 'plain', 'cut', 'open'], 2);
    expect(rows.map((row) => row[1])).toEqual([
      { completion: '2+2\n</think>\n4', truncated: false, length: 7 },
      { completion: '2+2\n</think>\n4', truncated: false, length: 7 },
      { completion: '<think>2+2</think>4', truncated: false, length: 7 },
      { completion: '\n</think>\n4', truncated: false, length: 7 },
      { completion: '<think>2+', truncated: true, length: 99 },
      { completion: '<think>2+', truncated: true, length: 7 },
    ]);
    expect(requests).toHaveLength(12);
    expect(new Set(requests.map(({ body }) => body.seed))).toEqual(new Set([10, 11]));
    expect(requests[0]?.body).toMatchObject({
      model: 'm',
      temperature: 1,
      top_p: 1,
      max_tokens: 5,
      stream: false,
    });
    expect(requests[0]?.message.url).toBe('/v1/chat/completions');
    expect(requests[0]?.message.headers.authorization).toBe('Bearer k');
  });

  it('asks again where that can help, waiting as told', async () => {
    const { baseURL, requests } = await serve((_, at, res) => {
      if (at === 0) {
        res.writeHead(429, { 'retry-after': '0.05' });
        return 'slow down';
      }
      if (at === 1) {
        res.destroy();
        return undefined;
      }
      if (at === 2) {
        res.writeHead(503);
        return 'loading';
      }
      return chat({ content: 'ok' });
    });
    const sample = endpointSampler({ baseURL, model: 'm', retryDelayMs: 5 });
    expect((await sample(['x'], 1))[0]?.[0]?.completion).toContain('ok');
    expect(requests).toHaveLength(4);
  });

  it('gives up with the reason', async () => {
    const busy = await serve((_, __, res) => {
      res.writeHead(500);
      return 'out of memory';
    });
    await expect(
      endpointSampler({ baseURL: busy.baseURL, model: 'm', retries: 2, retryDelayMs: 1 })(['x'], 1),
    ).rejects.toThrow(/in 3 attempts, got at last: 500 out of memory/);
    expect(busy.requests).toHaveLength(3);
    const missing = await serve((_, __, res) => {
      res.writeHead(404);
      return 'no such model';
    });
    await expect(endpointSampler({ baseURL: missing.baseURL, model: 'm' })(['x'], 4)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/404 no such model/),
    });
    await expect(
      endpointSampler({ baseURL: 'http://127.0.0.1:9/v1', model: 'm', retries: 0 })(['x'], 1),
    ).rejects.toThrow(/in 1 attempts/);
    for (const answer of ['<html>', '{}', 'null', '{"choices":[{}]}']) {
      const odd = await serve(() => answer);
      await expect(endpointSampler({ baseURL: odd.baseURL, model: 'm' })(['x'], 1)).rejects.toThrow(
        /OpenAI-compatible server\?/,
      );
    }
  });

  it('ends on time-outs and on its signal', async () => {
    const silent = await serve(() => undefined);
    await expect(
      endpointSampler({ baseURL: silent.baseURL, model: 'm', retries: 0, timeoutMs: 50 })(['x'], 1),
    ).rejects.toThrow(/no answer in 50 ms/);
    const abort = new AbortController();
    const pending = endpointSampler({ baseURL: silent.baseURL, model: 'm', signal: abort.signal })(['x'], 3);
    setTimeout(() => abort.abort(), 30);
    await expect(pending).rejects.toMatchObject({ code: 'aborted' });
  });

  it('keeps to its concurrency', async () => {
    let running = 0;
    let most = 0;
    const { baseURL } = await serve((_, __, res) => {
      most = Math.max(most, ++running);
      setTimeout(() => {
        running--;
        res.end(JSON.stringify(chat({ content: 'ok' })));
      }, 10);
      return undefined;
    });
    await endpointSampler({ baseURL, model: 'm', concurrency: 3 })(['a', 'b'], 6);
    expect(most).toBe(3);
    expect(() => endpointSampler({ baseURL: 'localhost:8000', model: 'm' })).toThrow(/http\(s\) baseURL/);
  });
});
