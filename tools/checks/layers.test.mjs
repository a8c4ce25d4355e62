// The layering check, on small workspaces written to a temporary folder.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkLayers } from './layers.mjs';

const rows = { '@minke/core': 0, '@minke/backends': 1, '@minke/files': 1, '@minke/tensor': 2, minke: 3 };

let root;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'minke-layers-'));
  write('package.json', { devDependencies: { vitest: '4.1.12' } });
  addPackage('@minke/core');
  addPackage('@minke/backends', { exports: { '.': './src/index.ts', './reference': './src/reference.ts' } });
  addPackage('@minke/files');
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('what is allowed', () => {
  it('accepts imports of rows above, of declared subpaths, of built-ins and of own files', () => {
    addPackage('@minke/tensor', { dependencies: workspace('@minke/core', '@minke/backends') });
    writeSource(
      '@minke/tensor',
      'src/index.ts',
      `import { readFile } from 'node:fs/promises';
       import type { Random } from '@minke/core';
       export * from '@minke/backends/reference';
       export { add } from './add.ts';
       export const later = () => import('@minke/backends');`,
    );
    expect(checkLayers(root, rows)).toEqual([]);
  });

  it('lets tests, examples and recipes use devDependencies, those of the root, and the package itself by name', () => {
    addPackage('@minke/tensor', {
      dependencies: workspace('@minke/core'),
      devDependencies: workspace('@minke/backends'),
    });
    writeSource(
      '@minke/tensor',
      'src/index.test.ts',
      `import { it } from 'vitest'; import { auto } from '@minke/backends'; import { Tensor } from '@minke/tensor';`,
    );
    writeSource('@minke/tensor', 'examples/readme.ts', `import { auto } from '@minke/backends';`);
    writeSource('@minke/tensor', 'src/testing/model.ts', `import { auto } from '@minke/backends';`);
    writeSource('@minke/tensor', 'recipe/train.mjs', `import { auto } from '@minke/backends';`);
    expect(checkLayers(root, rows)).toEqual([]);
  });

  it('matches export patterns', () => {
    addPackage('@minke/files', { exports: { './formats/*': './src/formats/*.ts' } });
    addPackage('minke', { dependencies: workspace('@minke/files') });
    writeSource('minke', 'src/index.ts', `import '@minke/files/formats/gguf'; import '@minke/files/other';`);
    expect(checkLayers(root, rows)).toEqual([expect.stringMatching(/apps.*got '@minke\/files\/other'/)]);
  });

  it('ignores a package folder without sources, comments, strings and templates that look like imports', () => {
    writeSource(
      '@minke/core',
      'src/index.ts',
      `// import '@minke/tensor'
       const text = "import x from '@minke/tensor'";
       const template = \`import '\${text}' from '@minke/tensor'\`;
       const pattern = /import '@minke\\/tensor'/;`,
    );
    mkdirSync(join(root, 'packages/empty'));
    expect(checkLayers(root, rows)).toEqual([]);
  });
});

describe('what is a problem', () => {
  it.each([
    ['an import', `import { Tensor } from '@minke/tensor';`],
    ['a type import', `import type { Tensor } from '@minke/tensor';`],
    ['a re-export', `export * from '@minke/tensor';`],
    ['a dynamic import', `const load = () => import('@minke/tensor');`],
    ['an import type', `let x: import('@minke/tensor').Tensor;`],
    ['a require', `const t = require('@minke/tensor');`],
    ['a resolve', `import.meta.resolve('@minke/tensor');`],
  ])('%s of a row below', (_, code) => {
    addPackage('@minke/tensor');
    writeSource('@minke/core', 'src/index.ts', `\n${code}`);
    const problems = checkLayers(root, rows);
    expect(problems).toContainEqual(
      expect.stringMatching(
        /^packages\/core\/src\/index\.ts:2: expected @minke\/core \(row 0\).*@minke\/tensor \(row 2\)/,
      ),
    );
  });

  it('a declared dependency on the same row, whatever its kind', () => {
    for (const kind of ['dependencies', 'peerDependencies', 'optionalDependencies', 'devDependencies']) {
      addPackage('@minke/files', { [kind]: workspace('@minke/backends') });
      expect(checkLayers(root, rows)).toEqual([
        expect.stringMatching(`^packages/files/package.json: ${kind}: expected @minke/files \\(row 1\\)`),
      ]);
    }
  });

  it('two packages that depend on each other', () => {
    addPackage('@minke/core', { dependencies: workspace('@minke/tensor') });
    addPackage('@minke/tensor', { dependencies: workspace('@minke/core') });
    expect(checkLayers(root, rows)).toHaveLength(1);
  });

  it('shipped code that uses a devDependency or the tools of the root', () => {
    addPackage('@minke/tensor', { devDependencies: workspace('@minke/backends') });
    writeSource('@minke/tensor', 'src/index.ts', `import '@minke/backends'; import 'vitest';`);
    expect(checkLayers(root, rows)).toEqual([
      expect.stringContaining(`'@minke/backends' in the dependencies or peerDependencies of @minke/tensor`),
      expect.stringContaining(`'vitest' in the dependencies or peerDependencies of @minke/tensor`),
    ]);
  });

  it('a folder that the manifest ships beside the build', () => {
    addPackage('@minke/tensor', { devDependencies: workspace('@minke/backends'), files: ['dist', 'page'] });
    writeSource('@minke/tensor', 'page/chat.js', `import '@minke/backends';`);
    expect(checkLayers(root, rows)).toHaveLength(1);
  });

  it('shipped code that imports a helper of the tests or a file outside the build', () => {
    writeSource('@minke/core', 'src/index.ts', `import './testing/model.ts'; import '../recipe/train.mjs';`);
    expect(checkLayers(root, rows)).toEqual([
      expect.stringContaining(`expected a path to shipped code, got './testing/model.ts'`),
      expect.stringContaining(`expected a path to shipped code, got '../recipe/train.mjs'`),
    ]);
  });

  it('an undeclared package, in a test too', () => {
    writeSource('@minke/core', 'src/index.test.ts', `import { z } from 'zod/v4'; import '@scope/name/deep';`);
    expect(checkLayers(root, rows)).toEqual([
      expect.stringContaining(`expected 'zod' in the dependencies`),
      expect.stringContaining(`expected '@scope/name' in the dependencies`),
    ]);
  });

  it('a path into another package, by name or by folder', () => {
    addPackage('@minke/tensor', { dependencies: workspace('@minke/core') });
    writeSource(
      '@minke/tensor',
      'src/index.ts',
      `import '@minke/core/src/a.ts'; import '../../core/src/a.ts';`,
    );
    expect(checkLayers(root, rows)).toEqual([
      expect.stringContaining(`got '@minke/core/src/a.ts'; no imports past the exports`),
      expect.stringContaining(`got '../../core/src/a.ts'; import the other package by its name`),
    ]);
  });

  it('shipped code that imports its own package by name', () => {
    writeSource('@minke/core', 'src/index.ts', `import '@minke/core';`);
    expect(checkLayers(root, rows)).toEqual([
      expect.stringContaining('a package does not import itself by name'),
    ]);
  });

  it('a package without a row and an internal range other than workspace:^', () => {
    addPackage('@minke/new', { dependencies: { '@minke/core': '^0.1.0' } });
    addPackage('@minke/tensor', { dependencies: { '@minke/core': '^0.1.0' } });
    expect(checkLayers(root, rows)).toEqual([
      expect.stringContaining('expected a row for @minke/new'),
      expect.stringContaining('expected "@minke/core": "workspace:^", got "^0.1.0"'),
    ]);
  });
});

function folderOf(name) {
  return name === 'minke' ? 'apps/cli' : `packages/${name.slice('@minke/'.length)}`;
}

function addPackage(name, manifest = {}) {
  write(`${folderOf(name)}/package.json`, { name, exports: { '.': './src/index.ts' }, ...manifest });
}

function writeSource(name, file, code) {
  write(`${folderOf(name)}/${file}`, code);
}

function workspace(...names) {
  return Object.fromEntries(names.map((name) => [name, 'workspace:^']));
}

function write(file, content) {
  const path = join(root, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
}
