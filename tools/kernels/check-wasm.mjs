// Is the committed WebAssembly module the one its sources give? Compares the source hash; with clang 19 on
// the machine it also compiles again and compares every byte. Exits with 1 when they differ.
// Usage: node tools/kernels/check-wasm.mjs

import { readFileSync } from 'node:fs';
import { compiler, compilerPresent, compileWasm, sourceHash, wasmFile } from './build-wasm.mjs';

const committed = readFileSync(wasmFile, 'utf8');
const rebuild = 'run node tools/kernels/build-wasm.mjs';
if (!committed.includes(`// sources ${sourceHash()}\n`)) {
  console.error(`kernels: minke-wasm.gen.ts was made from other sources; ${rebuild}`);
  process.exit(1);
}
if (!compilerPresent()) {
  console.log(
    `kernels: the sources match minke-wasm.gen.ts; its bytes were not compared, ${compiler} is missing`,
  );
} else if (compileWasm() !== committed) {
  console.error(`kernels: minke-wasm.gen.ts is not what ${compiler} makes of its sources; ${rebuild}`);
  process.exit(1);
} else {
  console.log('kernels: minke-wasm.gen.ts is what its sources give, byte for byte');
}
