import { defineConfig } from 'tsup';

// Each entry is whole by itself: the page's thread and the browser load theirs alone.
export default defineConfig({
  entry: { index: 'src/index.ts', 'page-worker': 'src/page/page-worker.ts', chart: 'src/report/chart.ts' },
  format: 'esm',
  target: 'node20',
  splitting: false,
  sourcemap: true,
  clean: true,
});
