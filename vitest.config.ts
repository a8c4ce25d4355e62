import { defineConfig } from 'vitest/config';

// Tests sit beside the code and import the packages' sources (the `minke-source` export condition), so a
// test run needs no TypeScript build. Two workers: the reference machine has two cores.
export default defineConfig({
  resolve: { conditions: ['minke-source'] },
  ssr: { resolve: { conditions: ['minke-source'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'apps/*/src/**/*.test.ts', 'tools/**/*.test.{ts,mjs}'],
    exclude: ['**/node_modules/**', '**/dist/**', '**/*.slow.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
