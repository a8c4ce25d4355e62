// Does the Python client of the hub read what we fetched, and we what it fetched? A hub on this machine serves both.
//
//     pip install huggingface_hub
//     node tools/parity/hub-cache.mjs [--write]       # MINKE_PYTHON names another python3
//
// `--write` records the cache that the Python client made as packages/checkpoints/fixtures/hub-cache.json, which the
// tests compare ours with. Needs a build (`pnpm build`).
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { pullModel } from '../../packages/checkpoints/dist/hub/index.js';
import { StandInHub } from '../../packages/checkpoints/dist/hub/stand-in.js';

const id = 'someone/small';
const files = {
  'config.json': Buffer.from('{"a":1}'),
  'empty.txt': Buffer.alloc(0),
  'model.safetensors': Buffer.from(Uint8Array.from({ length: 1100 }, (_, i) => (i * i) & 255)),
  'sub/folder/größe.txt': Buffer.from('x'),
  'sub/copy.safetensors': Buffer.from(Uint8Array.from({ length: 1100 }, (_, i) => (i * i) & 255)),
};
const fixture = fileURLToPath(new URL('../../packages/checkpoints/fixtures/hub-cache.json', import.meta.url));
const script = fileURLToPath(new URL('hub_cache.py', import.meta.url));

const hub = await StandInHub.start();
hub.add(id, { files });
const root = await mkdtemp(join(tmpdir(), 'minke-hub-parity-'));
const [theirs, ours] = [join(root, 'python'), join(root, 'minke')];
try {
  await python('fetch', theirs);
  const layout = await describe(theirs);
  const options = { endpoint: hub.endpoint, token: null, include: ['*'] };
  const { received } = await pullModel(id, { ...options, cache: ours });
  assert(received > 0);
  const sums = Object.fromEntries(
    Object.entries(files).map(([path, bytes]) => [path, createHash('sha256').update(bytes).digest('hex')]),
  );
  assert.deepEqual(await python('read', theirs), sums);
  assert.deepEqual(await python('read', ours), sums);
  console.log('the Python client, offline, reads what we fetched');
  assert.equal((await pullModel(id, { ...options, cache: theirs })).received, 0);
  console.log('we fetch nothing again of what the Python client fetched');
  assert.deepEqual(await describe(ours), layout);
  console.log('both caches have the same names, links and contents');
  if (process.argv.includes('--write'))
    await writeFile(fixture, `${JSON.stringify({ files: texts(), layout }, null, 1)}\n`);
} finally {
  await hub.close();
  await rm(root, { recursive: true });
}

async function python(command, cache) {
  const environment = { ...process.env, HF_ENDPOINT: hub.endpoint, HF_HOME: join(root, 'home') };
  const run = promisify(execFile)(process.env.MINKE_PYTHON ?? 'python3', [script, command, cache], {
    env: {
      ...environment,
      HF_HUB_DISABLE_TELEMETRY: '1',
      ...(command === 'read' && { HF_HUB_OFFLINE: '1' }),
    },
  });
  const { stdout } = await run;
  return stdout === '' ? undefined : JSON.parse(stdout);
}

/** Every name in a model's cache, with the target of a link or the content of a file (blobs have no endings). */
async function describe(cache) {
  const base = join(cache, 'models--someone--small');
  const entries = await readdir(base, { recursive: true, withFileTypes: true });
  const described = await Promise.all(
    entries
      .filter((entry) => !entry.isDirectory())
      .map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        const name = path.slice(base.length + 1);
        if (entry.isSymbolicLink()) return [name, { link: await readlink(path) }];
        const content = await readFile(path);
        if (name.endsWith('.json')) return [name, { json: JSON.parse(content.toString('utf8')) }];
        return [name, { base64: content.toString('base64') }];
      }),
  );
  return Object.fromEntries(described.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function texts() {
  return Object.fromEntries(Object.entries(files).map(([path, bytes]) => [path, bytes.toString('base64')]));
}
