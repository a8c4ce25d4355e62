// Are the committed WebAssembly modules what their sources give? Compares the source hashes; with clang 19 on
// the machine it also compiles again and compares every byte. Exits with 1 when they differ.
// Usage: node tools/kernels/check-wasm.mjs

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { builds, compiler, compilerPresent, compileWasm, sourceHash } from './build-wasm.mjs';

for (const build of builds) {
  const name = basename(build.file);
  const committed = readFileSync(build.file, 'utf8');
  const rebuild = 'run node tools/kernels/build-wasm.mjs';
  if (!committed.includes(`// sources ${sourceHash(build)}\n`)) {
    console.error(`kernels: ${name} was made from other sources; ${rebuild}`);
    process.exitCode = 1;
  } else if (!compilerPresent()) {
    console.log(`kernels: the sources match ${name}; its bytes were not compared, ${compiler} is missing`);
  } else if (compileWasm(build) !== committed) {
    console.error(`kernels: ${name} is not what ${compiler} makes of its sources; ${rebuild}`);
    process.exitCode = 1;
  } else {
    console.log(`kernels: ${name} is what its sources give, byte for byte`);
  }
}
