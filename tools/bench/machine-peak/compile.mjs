// Compiles a C++ probe for this machine on the fly, with the first compiler there is.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * @param {string} source path of the C++ file
 * @param {string[]} [libraries] linker flags, such as `-lopenblas`
 * @returns {{ binary: string, dispose(): void } | { why: string }} `dispose` deletes the binary
 */
export function compileProbe(source, libraries = []) {
  const compilers = [process.env.CXX, 'g++', 'clang++', 'c++'].filter(Boolean);
  const compiler = compilers.find((name) => spawnSync(name, ['--version']).status === 0);
  if (!compiler) return { why: `no C++ compiler (tried ${compilers.join(', ')})` };
  const directory = mkdtempSync(join(tmpdir(), 'minke-probe-'));
  const dispose = () => rmSync(directory, { recursive: true, force: true });
  const binary = join(directory, 'probe');
  const native = process.arch === 'x64' ? '-march=native' : '-mcpu=native';
  const flags = ['-std=c++17', '-O3', native, '-ffp-contract=fast', '-pthread', source, '-o', binary];
  const built = spawnSync(compiler, [...flags, ...libraries], { encoding: 'utf8' });
  if (built.status === 0) return { binary, dispose };
  dispose();
  return { why: `${compiler} failed: ${built.stderr.trim().split('\n')[0]}` };
}
