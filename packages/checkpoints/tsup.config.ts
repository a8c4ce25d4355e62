import { defineConfig } from 'tsup';

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    files: 'src/files.ts',
    'new-folder': 'src/new-folder.ts',
    'hub/index': 'src/hub/index.ts',
    'hub/model-path': 'src/hub/model-path.ts',
    'hub/stand-in': 'src/hub/stand-in.ts',
    'testing/gguf-builder': 'src/testing/gguf-builder.ts',
  },
  format: 'esm',
  target: 'node20',
  sourcemap: true,
  clean: true,
});
