import { inferOutputs, MinkeError, opRow, Random } from '@minke/core';

// The op table is the contract: what an op computes, and the shapes it gives.
console.log(opRow('matmul').doc);
const a = { dtype: 'f32', shape: [2, 3] } as const;
const b = { dtype: 'f32', shape: [4, 3] } as const;
console.log(inferOutputs('matmul', [a, b], { transA: 0, transB: 1 })); // f32 [2, 4]

try {
  inferOutputs('matmul', [a, b], { transA: 0, transB: 0 });
} catch (problem) {
  if (MinkeError.isInstance(problem)) console.log(problem.code, problem.message);
}

// Random numbers are the same on every machine, and resume from their position.
const random = new Random(7);
random.normal();
console.log(Random.from(random.state()).uniform() === random.uniform());
