// What each set-up phase depends on, as one hash. Files are hashed by content (a checkout, a pull or a copy
// may leave any modification time); only files above 256 KiB are taken by size and modification time.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, relative } from 'node:path';
import { findOnPath, repositoryRoot } from './process.mjs';

const largeFileBytes = 256 * 1024;
const outputFolders = new Set(['node_modules', 'dist', 'build', '.turbo']);
const unbuiltFolders = new Set([...outputFolders, 'fixtures', 'examples', 'model']);
const unbuiltFile = /\.(test|bench)\.[cm]?tsx?$|\.md$/;

let packagesMemo;

/** Every workspace package: its folder and parsed package.json. */
export function workspacePackages() {
  packagesMemo ??= ['packages', 'apps'].flatMap((group) =>
    readdirSync(join(repositoryRoot, group))
      .sort()
      .map((name) => join(repositoryRoot, group, name))
      .flatMap((directory) => {
        const text = readIfPresent(join(directory, 'package.json'));
        return text === undefined ? [] : [{ directory, manifest: JSON.parse(text) }];
      }),
  );
  return packagesMemo;
}

/** Hash of the lockfile, the workspace settings, every package.json, and the platform. */
export function installKey() {
  const manifests = workspacePackages().map(({ directory }) => join(directory, 'package.json'));
  const settings = ['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml'].map((name) =>
    join(repositoryRoot, name),
  );
  return hashFiles([...settings, ...manifests], [process.platform, process.arch]);
}

/** Hash of the kernel sources, their build script, the processor, and the compilers that could be used. */
export function nativeKey() {
  const sources = ['packages/gpu-backends/kernels', 'tools/kernels'].flatMap((folder) =>
    filesUnder(join(repositoryRoot, folder), outputFolders),
  );
  const machine = [process.platform, process.arch, cpus()[0]?.model ?? ''];
  return hashFiles(sources, [...machine, ...compilersOnPath()]);
}

/** Hash of every source the packages are built from (tests, fixtures and documents are not). */
export function buildKey() {
  const sources = workspacePackages()
    .flatMap(({ directory }) => filesUnder(directory, unbuiltFolders))
    .filter((file) => !unbuiltFile.test(file));
  const settings = ['package.json', 'pnpm-lock.yaml', 'tsconfig.base.json', 'tsconfig.json', 'turbo.json'];
  return hashFiles([...settings.map((name) => join(repositoryRoot, name)), ...sources]);
}

/** $CXX if it is set, then the C++ compilers on the PATH, by their real paths. */
export function compilersOnPath() {
  const names = ['g++', 'clang++', 'c++'].map(findOnPath).filter(Boolean);
  return [...(process.env.CXX ? [process.env.CXX] : []), ...new Set(names.map((file) => realpathSync(file)))];
}

function hashFiles(files, facts = []) {
  const hash = createHash('sha256').update(JSON.stringify(facts));
  for (const file of files) {
    const { size, mtimeMs } = statSync(file);
    hash.update(`\0${relative(repositoryRoot, file)}\0${size}\0`);
    hash.update(size > largeFileBytes ? String(mtimeMs) : readFileSync(file));
  }
  return hash.digest('hex');
}

function filesUnder(directory, skippedFolders) {
  let entries;
  try {
    entries = readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
  return entries
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return skippedFolders.has(entry.name) ? [] : filesUnder(path, skippedFolders);
      return entry.isFile() ? [path] : [];
    });
}

function readIfPresent(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  }
}
