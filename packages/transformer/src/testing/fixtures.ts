/** The parity fixtures (tools/parity) and the backends that tests run on. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openSafetensors, type TensorData } from '@minke/checkpoints';
import type { Backend } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';

const root = fileURLToPath(new URL('../../fixtures/', import.meta.url));

const allNames = readdirSync(root);
/** Fixtures with logits of models with latent attention, of those with an indexer beside it, and of dense models. */
export const fixtureNames = allNames.filter((name) => /^(v[23]|glm4|moonlight|kimi)-/.test(name));
export const sparseFixtureNames = allNames.filter((name) => name.startsWith('v32-'));
export const denseFixtureNames = allNames.filter((name) => name.startsWith('dense-'));

export const fixtureFolder = (name: string) => `${root}${name}`;

/** Two sequences of 64 tokens (of 32 in some), and what transformers computed for them. */
export interface Expected {
  readonly sequences: readonly (readonly number[])[];
  /** [2, 64, V], float32 arithmetic. */
  readonly logits: Float32Array;
  /** [2, 64, V], float64 arithmetic. */
  readonly exact: Float32Array;
  /** Chosen experts [2, 64, K] of each mixture-of-experts layer, in layer order. */
  readonly experts: readonly Int32Array[];
}

export async function readExpected(name: string, file = 'expected.safetensors'): Promise<Expected> {
  const tensors = await openSafetensors(`${fixtureFolder(name)}/${file}`);
  const integers = async (tensor: string) => (await tensors.readTyped(tensor)) as Int32Array;
  const ids = [...(await integers('input_ids'))];
  const layers = [...tensors.tensors.keys()].filter((tensor) => tensor.startsWith('experts.'));
  layers.sort((a, b) => Number(a.slice(8)) - Number(b.slice(8)));
  const logits = await tensors.readFloat32('logits');
  const expected = {
    sequences: [ids.slice(0, ids.length / 2), ids.slice(ids.length / 2)],
    logits,
    exact: tensors.tensors.has('logits_f64') ? await tensors.readFloat32('logits_f64') : logits,
    experts: await Promise.all(layers.map(integers)),
  };
  await tensors.close();
  return expected;
}

/** The fastest backend of this machine: native, or WebAssembly where it is not built. */
export const fastBackend: Backend = nativeAvailable().available
  ? await createNative({ threads: 1 })
  : await createWasm();

/** The other backends, for smaller runs. */
export const otherBackends: readonly Backend[] = [
  createReference(),
  ...(fastBackend.info.name === 'native' ? [await createWasm()] : []),
];

/** Largest absolute difference; Infinity for NaN or different lengths. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] as number) - (b[i] as number));
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return worst;
}

/** Every tensor of a fixture as data to write. */
export async function tensorsOf(name: string): Promise<Map<string, TensorData>> {
  const file = await openSafetensors(`${fixtureFolder(name)}/model.safetensors`);
  const tensors = new Map<string, TensorData>();
  for (const [key, { dtype, shape }] of file.tensors)
    tensors.set(key, { dtype, shape, data: await file.read(key) });
  await file.close();
  return tensors;
}
