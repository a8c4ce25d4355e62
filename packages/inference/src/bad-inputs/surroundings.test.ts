/**
 * What can go wrong around good files: they change while they are read, disks and hubs fail, memory is short. Every
 * failure is a typed error, or the next attempt succeeds; nothing of a model that failed to load stays in memory.
 */
import {
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pullModel } from '@minke/checkpoints/hub';
import { type HubFault, StandInHub } from '@minke/checkpoints/hub/testing';
import { type Backend, type DType, type ErrorCode, MinkeError } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { loadLanguageModel } from '../language-model.ts';
import { expectLoads, expectRefused, folderWith, goodFolder, useGoodFolder } from '../testing/bad-models.ts';
import { ggufWith } from '../testing/gguf-model.ts';

useGoodFolder();
afterEach(() => {
  vi.restoreAllMocks();
});

/** Loads on a backend of its own; on failure, of this code, nothing stays in memory. */
async function refused(
  path: string,
  code: ErrorCode,
  message: RegExp,
  options: { onProgress?: () => void; backend?: Backend } = {},
): Promise<void> {
  const { backend = createReference(), ...more } = options;
  await expectRefused(() => loadLanguageModel(path, { backend, ...more }), code, message);
  expect(backend.memoryUse().bytes).toBe(0);
  backend.dispose();
}

/** The files a model is in: a folder's weights, or one GGUF file. */
const places: [string, () => Promise<{ path: string; weights: string }>][] = [
  [
    'a folder',
    async () => {
      const path = folderWith({});
      return { path, weights: join(path, 'model.safetensors') };
    },
  ],
  [
    'a GGUF file',
    async () => {
      const path = join(folderWith({}), 'model.gguf');
      writeFileSync(path, await ggufWith({}));
      return { path, weights: path };
    },
  ],
];

describe.each(places)('while a model is read from %s', (_, make) => {
  it('the file may be cut short or written to, which is noticed', async () => {
    for (const [change, message] of [
      [(file: string) => truncateSync(file, 5000), /cut short while open|changed while open/],
      [(file: string) => utimesSync(file, 1, 1), /changed while open/],
    ] as const) {
      const { path, weights } = await make();
      let steps = 0;
      await refused(path, 'invalid-file', message, {
        onProgress: () => {
          if (steps++ === 2) change(weights);
        },
      });
    }
  });

  it('the file may be replaced or removed, which changes nothing', async () => {
    const { path, weights } = await make();
    const backend = createReference();
    let steps = 0;
    const { model } = await loadLanguageModel(path, {
      backend,
      onProgress: () => {
        if (steps++ !== 2) return;
        writeFileSync(`${weights}.new`, 'other content');
        renameSync(`${weights}.new`, weights);
      },
    });
    const before = [...model.parameters().values()].at(-1)!.readSync();
    expect(before.some((value) => value !== 0)).toBe(true);
    backend.dispose();
  });

  it('any read may fail, the first to the last', async () => {
    const { path } = await make();
    const handles = await handlePrototype();
    const original = handles.read;
    let reads = 0;
    const spy = vi.spyOn(handles, 'read');
    spy.mockImplementation(function (this: FileHandle, ...args: never[]) {
      reads++;
      return original.apply(this, args as never);
    } as never);
    await expectLoads(path);
    const total = reads;
    expect(total).toBeGreaterThan(5);
    for (let failing = 0; failing < total; failing++) {
      reads = 0;
      spy.mockImplementation(function (this: FileHandle, ...args: never[]) {
        if (reads++ === failing) return Promise.reject(diskError('EIO', 'read'));
        return original.apply(this, args as never);
      } as never);
      await refused(path, 'invalid-file', /EIO/);
    }
  });

  it('memory may run out at any allocation', async () => {
    const { path } = await make();
    let left = Number.POSITIVE_INFINITY;
    const limited = (backend: Backend) =>
      new Proxy(backend, {
        get(target, key) {
          if (key === 'allocate')
            return (dtype: DType, length: number) => {
              if (left-- <= 0) throw new MinkeError('out-of-memory', 'allocate: expected memory, got none');
              return target.allocate(dtype, length);
            };
          const value: unknown = Reflect.get(target, key, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    for (let most = 0; ; most += 3) {
      left = most;
      const backend = createReference();
      const loaded = await loadLanguageModel(path, { backend: limited(backend) }).catch((error) => error);
      if (left >= 0) {
        expect(most).toBeGreaterThan(10);
        break;
      }
      expect(loaded).toMatchObject({ name: 'MinkeError', code: 'out-of-memory' });
      expect(backend.memoryUse().bytes).toBe(0);
      backend.dispose();
    }
  });
});

const diskError = (code: string, syscall: string) =>
  Object.assign(new Error(`${code}: the disk says no, ${syscall}`), { code, syscall });

/** What all open files share, to let one of their reads or writes fail. */
async function handlePrototype(): Promise<FileHandle> {
  const handle = await open(join(goodFolder, 'config.json'));
  await handle.close();
  return Object.getPrototypeOf(handle) as FileHandle;
}

describe('a model that comes from a hub', () => {
  let hub: StandInHub;
  let cache: string;
  const id = 'someone/model';
  beforeAll(async () => {
    hub = await StandInHub.start();
    cache = mkdtempSync(join(tmpdir(), 'minke-cache-'));
    const names = [
      'config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
      'generation_config.json',
    ];
    hub.add(id, {
      files: Object.fromEntries(names.map((name) => [name, readFileSync(join(goodFolder, name))])),
    });
  });
  afterAll(async () => {
    await hub.close();
    rmSync(cache, { recursive: true, force: true });
  });
  afterEach(() => {
    hub.fault = () => undefined;
    rmSync(cache, { recursive: true, force: true });
  });
  const pull = () =>
    pullModel(id, {
      endpoint: hub.endpoint,
      token: null,
      cache,
      retryDelayMs: 1,
      segmentBytes: 8192,
      retries: 2,
    });

  it.each<[string, HubFault]>([
    ['ignores ranges', { kind: 'ignore-range' }],
    ['drops a connection', { kind: 'drop', share: 0.4 }],
    ['is busy', { kind: 'status', status: 429, headers: { 'retry-after': '0' } }],
    ['is overloaded', { kind: 'status', status: 503 }],
    ['compresses', { kind: 'gzip' }],
    ['sends a wrong byte', { kind: 'garbage', share: 0.5 }],
  ])('that %s once is loaded all the same', async (_, fault) => {
    let first = true;
    hub.fault = ({ kind }) => {
      if (kind === 'api' || !first) return undefined;
      first = false;
      return fault;
    };
    await expectLoads((await pull()).folder);
  });

  it.each<[string, HubFault, string, ErrorCode]>([
    [
      'is busy for ever',
      { kind: 'status', status: 429, headers: { 'retry-after': '0' } },
      'unreachable',
      'unsupported',
    ],
    ['is overloaded for ever', { kind: 'status', status: 503 }, 'unreachable', 'unsupported'],
    ['always sends a wrong byte', { kind: 'garbage', share: 0.5 }, 'wrong-bytes', 'invalid-file'],
    ['redirects in circles', { kind: 'redirect', location: '' }, 'refused', 'unsupported'],
  ])('that %s is refused, and nothing of it is taken for a model', async (_, fault, problem, code) => {
    hub.fault = ({ kind, url }) => {
      if (kind === 'api') return undefined;
      return fault.kind === 'redirect' ? { ...fault, location: url } : fault;
    };
    expect(await expectRefused(pull, code, /someone\/model/)).toMatchObject({ problem });
    hub.fault = () => undefined;
    await expectLoads((await pull()).folder);
  });

  it.each([
    ['ENOSPC', 'no-space', /make room and run the same again/],
    ['EFBIG', 'no-space', /make room/],
    ['EIO', 'disk', /see to the disk of the cache/],
  ])(
    'onto a disk that says %s at any write is an error, and goes on from there',
    async (code, problem, message) => {
      const handles = await handlePrototype();
      const original = handles.write;
      for (const failing of [0, 1, 3]) {
        let writes = 0;
        const spy = vi.spyOn(handles, 'write');
        spy.mockImplementation(function (this: FileHandle, ...args: never[]) {
          if (writes++ >= failing) return Promise.reject(diskError(code, 'write'));
          return (original as (...all: unknown[]) => unknown).apply(this, args);
        } as never);
        const error = await pull().catch((reason: unknown) => reason);
        expect(error).toMatchObject({ problem, message: expect.stringMatching(message) });
        spy.mockRestore();
        await expectLoads((await pull()).folder);
        rmSync(cache, { recursive: true, force: true });
      }
    },
  );
});
