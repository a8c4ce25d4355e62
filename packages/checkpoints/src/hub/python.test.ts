/** The cache that the Python client made of the same model (tools/parity/hub-cache.mjs): ours is the same. */
import { mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { cachedSnapshot, pullModel } from './index.ts';
import { StandInHub } from './stand-in.ts';

type Entry = { readonly link: string } | { readonly json: unknown } | { readonly base64: string };
const recorded = JSON.parse(
  readFileSync(new URL('../../fixtures/hub-cache.json', import.meta.url), 'utf8'),
) as { files: Record<string, string>; layout: Record<string, Entry> };

const id = 'someone/small';
let hub: StandInHub;
let cache: string;
beforeAll(async () => {
  hub = await StandInHub.start();
  const files = Object.entries(recorded.files).map(([path, text]) => [path, Buffer.from(text, 'base64')]);
  hub.add(id, { files: Object.fromEntries(files) });
});
afterAll(() => hub.close());
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'minke-hub-python-'));
});
afterEach(() => rm(cache, { recursive: true }));
const pull = () => pullModel(id, { endpoint: hub.endpoint, token: null, cache, include: ['*'] });

it('what we fetch lies where the Python client would put it', async () => {
  await pull();
  const base = join(cache, 'models--someone--small');
  const entries = readdirSync(base, { recursive: true, withFileTypes: true }).filter(
    (entry) => !entry.isDirectory(),
  );
  const layout = entries.map((entry): [string, Entry] => {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(base.length + 1);
    if (entry.isSymbolicLink()) return [name, { link: readlinkSync(path) }];
    const content = readFileSync(path);
    if (name.endsWith('.json')) return [name, { json: JSON.parse(content.toString('utf8')) }];
    return [name, { base64: content.toString('base64') }];
  });
  expect(Object.fromEntries(layout)).toEqual(recorded.layout);
});

it('what the Python client fetched is not fetched again', async () => {
  for (const [name, entry] of Object.entries(recorded.layout)) {
    const path = join(cache, 'models--someone--small', name);
    mkdirSync(dirname(path), { recursive: true });
    if ('link' in entry) symlinkSync(entry.link, path);
    else if ('json' in entry) writeFileSync(path, JSON.stringify(entry.json));
    else writeFileSync(path, Buffer.from(entry.base64, 'base64'));
  }
  const snapshot = cachedSnapshot(cache, { id, revision: 'main' });
  const { received, folder } = await pull();
  expect(received).toBe(0);
  expect(snapshot).toBe(folder);
});
