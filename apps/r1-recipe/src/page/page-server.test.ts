import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runRecipe } from '../run-recipe.ts';
import { countingStages } from '../testing/counting-recipe.mjs';
import { type PageServer, servePage } from './page-server.ts';

let folder: string;
let server: PageServer;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'minke-page-'));
  server = await servePage(folder, 0);
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const recipe = { recipe: 'counting', seed: 0, command: 'test', commit: 'none' };
const run = (pauseMs: number) => runRecipe(countingStages({ count: 20, pauseMs }), { folder, ...recipe });

/** By node:http, which sends any Host and any path as they are. */
function ask(path: string, options: { method?: string; headers?: Record<string, string> } = {}) {
  const { hostname, port } = new URL(server.url);
  return new Promise<{ status: number | undefined; headers: NodeJS.Dict<string | string[]> }>(
    (resolve, reject) => {
      const asked = request({ hostname, port, path, ...options }, (response) => {
        response.destroy();
        resolve({ status: response.statusCode, headers: response.headers });
      });
      asked.on('error', reject).end();
    },
  );
}

/** Events of the stream until `enough` says so, or its end. */
async function events(enough: (seen: { event: string; data: unknown }[]) => boolean) {
  const response = await fetch(`${server.url}/events`);
  const seen: { event: string; data: unknown }[] = [];
  let text = '';
  for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += Buffer.from(bytes).toString('utf8');
    const parts = text.split('\n\n');
    text = parts.pop() as string;
    for (const part of parts) {
      const [, event, data] = /^event: (\w+)\ndata: (.*)$/m.exec(part) ?? [];
      if (data) seen.push({ event: event as string, data: JSON.parse(data) });
    }
    // Leaving the loop ends the request.
    if (enough(seen)) break;
  }
  return seen;
}

it('serves loopback only, reading only, and nothing but its files', async () => {
  expect((await ask('/')).status).toBe(200);
  expect((await ask('/')).headers['content-security-policy']).toContain("default-src 'self'");
  expect((await ask('/', { headers: { host: 'evil.example' } })).status).toBe(403);
  expect((await ask('/', { headers: { host: 'localhost:80' } })).status).toBe(200);
  expect((await ask('/events', { method: 'POST' })).status).toBe(405);
  for (const path of ['/../package.json', '/%2e%2e/package.json', '/state.json', '/__proto__', '/app.js/'])
    expect((await ask(path)).status, path).toBe(404);
});

it('tells of a run from its start to its end, also to one who comes later', async () => {
  const live = events((seen) => seen.some(({ event }) => event === 'over'));
  await run(10);
  await new Promise((resolve) => setTimeout(resolve, 1200));
  const late = await events((seen) => new Set(seen.map(({ event }) => event)).size === 4);
  expect(late.map(({ event }) => event).sort()).toEqual(['charts', 'run', 'samples', 'tables']);
  expect(late.find(({ event }) => event === 'samples')?.data).toMatchObject({
    stage: 'numbers',
    log: '',
    samples: expect.arrayContaining([expect.objectContaining({ step: 20 })]),
  });
  await server.close();
  const seen = await live;
  expect(seen.at(-1)?.event).toBe('over');
  expect(seen.filter(({ event }) => event === 'run').at(-1)?.data).toMatchObject({ over: true });
});

it('says that a port is in use', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as AddressInfo;
  await expect(servePage(folder, port)).rejects.toMatchObject({ code: 'unsupported', message: /is in use/ });
  other.close();
});
