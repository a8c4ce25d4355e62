import { defineConfig } from 'vitest/config';

/** `../../packages/tensor/dist/index.js`, `../../packages/gpu-backends/dist/cpu/index.js`. */
const builtPackage = /^(?:\.\.\/)+((?:packages|apps)\/[\w-]+)\/dist\/((?:[\w-]+\/)?)index\.js$/;

// Tests sit beside the code and import the packages' sources (the `minke-source` export condition), so a
// test run needs no TypeScript build. Two workers: the reference machine has two cores. A worker runs its files in one
// environment, since importing took a third of the time: what a file puts in place of globals or modules it takes back.
export default defineConfig({
  resolve: {
    conditions: ['minke-source'],
    // Tools that run on built packages are tested on their sources, too.
    alias: [{ find: builtPackage, replacement: `${import.meta.dirname}/$1/src/$2index.ts` }],
  },
  ssr: { resolve: { conditions: ['minke-source'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'apps/*/src/**/*.test.ts', 'tools/**/*.test.{ts,mjs}'],
    exclude: ['**/node_modules/**', '**/dist/**', '**/*.slow.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    isolate: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
