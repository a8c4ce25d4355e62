/** Names, patterns and the environment: what decides where files come from and go to. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import {
  hubCache,
  hubEndpoint,
  hubToken,
  isHubId,
  isOffline,
  matchesAny,
  resolveModelPath,
  usefulFiles,
} from './index.ts';

it('knows ids of models from other texts', () => {
  for (const id of ['a/b', 'deepseek-ai/DeepSeek-V3.1@main', 'a_b/c@refs/pr/1', `a/b@${'0'.repeat(40)}`])
    expect(isHubId(id), id).toBe(true);
  for (const other of [
    ...['', 'a', 'a/b/c', '/a/b', './a', '../a', 'a/..', 'a/.b', 'a--b/c', 'a/b.', '-a/b', 'a b/c', 'a\\b/c'],
    ...['a/b@', 'a/b@..', 'a/b@/x', 'a/b@x/', 'a/b@x//y', 'a/b@x.lock', 'a/b@x/.y', `a/${'b'.repeat(95)}`],
  ])
    expect(isHubId(other), other).toBe(false);
});

it('matches as fnmatch of Python does', () => {
  const cases: [string, string, boolean][] = [
    ['model.safetensors', '*.safetensors', true],
    ['sub/model.safetensors', '*.safetensors', true],
    ['model.safetensors', 'model', false],
    ['sub/a/b.txt', 'sub/', true],
    ['subway', 'sub/', false],
    ['model-00001.bin', 'model-?????.bin', true],
    ['model-0001.bin', 'model-?????.bin', false],
    ['Q4.gguf', 'Q[2-5].gguf', true],
    ['Q4.gguf', 'Q[!2-5].gguf', false],
    ['Q].gguf', 'Q[]].gguf', true],
    ['Q[.gguf', 'Q[.gguf', true],
    ['a.b', 'a*b*', true],
    ['', '*', true],
    ['Model', 'model', false],
  ];
  for (const [path, pattern, expected] of cases)
    expect(matchesAny(path, [pattern]), `${path} ${pattern}`).toBe(expected);
});

it('matches in time that does not explode', () => {
  const began = performance.now();
  expect(matchesAny('a'.repeat(1024), [`${'*a'.repeat(500)}b`])).toBe(false);
  expect(matchesAny('['.repeat(1024), ['*['.repeat(500)])).toBe(true);
  expect(performance.now() - began).toBeLessThan(2000);
});

it('leaves weights in other formats out where there are safetensors', () => {
  const paths = (names: string[]) => usefulFiles(names.map((path) => ({ path }))).map(({ path }) => path);
  const rest = ['config.json', 'tokenizer.model', 'sub/x.py'];
  expect(paths([...rest, 'a.safetensors', 'pytorch_model.bin', 'onnx/model.onnx', 'a.Q4.gguf'])).toEqual([
    ...rest,
    'a.safetensors',
  ]);
  expect(paths([...rest, 'pytorch_model.bin'])).toEqual([...rest, 'pytorch_model.bin']);
});

it('reads the environment as the Python client does', () => {
  const cache = (environment: Record<string, string>) => hubCache({}, environment);
  expect(cache({})).toBe(join(homedir(), '.cache', 'huggingface', 'hub'));
  expect(cache({ XDG_CACHE_HOME: '/x' })).toBe('/x/huggingface/hub');
  expect(cache({ XDG_CACHE_HOME: '/x', HF_HOME: '~/h' })).toBe(join(homedir(), 'h', 'hub'));
  expect(cache({ HF_HOME: '/h', HF_HUB_CACHE: '/c' })).toBe('/c');
  expect(hubCache({ cache: '/mine' }, { HF_HUB_CACHE: '/c' })).toBe('/mine');
  expect(hubEndpoint({}, {})).toBe('https://huggingface.co');
  expect(hubEndpoint({}, { HF_ENDPOINT: 'http://127.0.0.1:80/' })).toBe('http://127.0.0.1:80');
  expect(() => hubEndpoint({}, { HF_ENDPOINT: 'file:///x' })).toThrow('HF_ENDPOINT');
  expect([isOffline({}), isOffline({ HF_HUB_OFFLINE: '1' }), isOffline({ HF_HUB_OFFLINE: '0' })]).toEqual([
    false,
    true,
    false,
  ]);
});

it('finds the token in the environment, else in the file of the login', () => {
  const home = mkdtempSync(join(tmpdir(), 'minke-token-'));
  const environment = { HF_HOME: home };
  expect(hubToken({}, environment)).toBeUndefined();
  writeFileSync(join(home, 'token'), ' hf_file\n');
  expect(hubToken({}, environment)).toBe('hf_file');
  expect(hubToken({}, { ...environment, HF_TOKEN: 'hf_named' })).toBe('hf_named');
  expect(hubToken({}, { ...environment, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' })).toBeUndefined();
  expect(hubToken({ token: null }, { HF_TOKEN: 'hf_named' })).toBeUndefined();
  expect(() => hubToken({ token: 'a b' }, {})).toThrow('visible ASCII');
  rmSync(home, { recursive: true });
});

it('resolves a folder to itself and an id to its snapshot, and says how to fetch what is not there', () => {
  const cache = mkdtempSync(join(tmpdir(), 'minke-resolve-'));
  const base = join(cache, 'models--a--b');
  const snapshot = join(base, 'snapshots', '5'.repeat(40));
  mkdirSync(snapshot, { recursive: true });
  mkdirSync(join(base, 'refs'));
  writeFileSync(join(base, 'refs', 'main'), '5'.repeat(40));
  const resolve = (from: string) => resolveModelPath(from, { cache });
  expect([resolve('a/b'), resolve('a/b@main'), resolve(`a/b@${'5'.repeat(40)}`)]).toEqual(
    Array(3).fill(snapshot),
  );
  for (const path of [cache, '/no/such/folder', './a/b', 'model']) expect(resolve(path)).toBe(path);
  for (const id of ['a/c', 'a/b@v1', `a/b@${'6'.repeat(40)}`])
    expect(() => resolve(id)).toThrow(`fetch it with: minke pull ${id}`);
  writeFileSync(join(base, 'refs', 'main'), '../../..');
  expect(() => resolve('a/b')).toThrow('minke pull');
  rmSync(cache, { recursive: true });
});

it('takes a folder of one GGUF file for the file, also from the cache, and asks which one where there are several', () => {
  const cache = mkdtempSync(join(tmpdir(), 'minke-resolve-'));
  const base = join(cache, 'models--a--b');
  const snapshot = join(base, 'snapshots', '5'.repeat(40));
  mkdirSync(join(snapshot, 'Q4'), { recursive: true });
  mkdirSync(join(base, 'refs'));
  writeFileSync(join(base, 'refs', 'main'), '5'.repeat(40));
  const put = (name: string) => {
    writeFileSync(join(snapshot, name), '');
    return join(snapshot, name);
  };
  const resolve = () => resolveModelPath('a/b', { cache });
  put('config.json');
  expect(resolve()).toBe(snapshot);
  const first = put('Q4/m-00001-of-00002.gguf');
  put('Q4/m-00002-of-00002.gguf');
  expect(resolve()).toBe(first);
  expect(resolveModelPath(join(snapshot, 'Q4'))).toBe(first);
  const other = put('m.Q8_0.gguf');
  expect(resolve).toThrow(`got 2 GGUF files; name one of them: ${other}, ${first}`);
  expect(resolveModelPath(other)).toBe(other);
  put('model.safetensors');
  expect(resolve()).toBe(snapshot);
  rmSync(cache, { recursive: true });
});
