import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.ts';

// Long runs, apart from the tests of every day: `pnpm test:slow`.
export default mergeConfig(
  { ...base, test: { ...base.test, include: [] } },
  defineConfig({ test: { include: ['packages/*/src/**/*.slow.ts'], testTimeout: 1_200_000 } }),
);
