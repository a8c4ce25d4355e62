import { defineConfig } from 'vitest/config';
import base from './vitest.config.ts';

// Long runs, apart from the tests of every day: `pnpm test:slow`.
export default defineConfig({
  ...base,
  test: {
    ...base.test,
    include: ['packages/*/src/**/*.slow.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    testTimeout: 1_200_000,
  },
});
