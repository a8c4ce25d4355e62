import { defineConfig } from 'tsup';

const shared = { format: 'esm', target: 'node20', sourcemap: true } as const;

export default defineConfig([
  { ...shared, entry: { index: 'src/index.ts' }, dts: true },
  { ...shared, entry: { main: 'src/main.ts' }, banner: { js: '#!/usr/bin/env node' } },
]);
