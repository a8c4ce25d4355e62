/** The backends that tests of merging run on: every one there is, and exact arithmetic. */
import type { Backend } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { availableBackends } from '@minke/gpu-backends/testing';

export async function testBackends(): Promise<[name: string, backend: Backend][]> {
  return [['reference in f64', createReference({ bits: 64 })], ...(await availableBackends())];
}
