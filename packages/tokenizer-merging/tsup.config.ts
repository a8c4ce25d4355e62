import { defineConfig } from 'tsup';

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    'tokenizer/index': 'src/tokenizer/index.ts',
    'chat/index': 'src/chat/index.ts',
    'merging/index': 'src/merging/index.ts',
  },
  format: 'esm',
  target: 'node20',
  sourcemap: true,
  clean: true,
});
