/**
 * Parameters and optimiser moments in one safetensors file: what a checkpoint holds of a model in training.
 *
 * Parameters have their names, moments are `{name}.m` and `{name}.v`, Muon's momenta `{name}.momentum`; the optimiser's
 * step and the learner's settings are metadata. The file is written under a temporary name and renamed.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, writeSafetensors } from '@minke/checkpoints';
import { MinkeError } from '@minke/core';
import type { AdamW, Muon, MuonState, Tensor } from '@minke/tensor';

/** What a state is of. */
export interface TrainedState {
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly optimizer: AdamW | Muon;
  /** Settings that a continuation must share. */
  readonly options: object;
}

/** The optimiser's state; AdamW has no momenta. */
function stateOf(optimizer: AdamW | Muon): MuonState<Tensor> {
  const state = optimizer.state();
  return 'momenta' in state ? state : { ...state, momenta: new Map() };
}

const fileIn = (folder: string): string => join(folder, 'state.safetensors');

/** Throws for numbers that a training cannot go on from: such a state must not replace a good one. */
function finite(name: string, data: Float32Array): Float32Array {
  const bad = data.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw new MinkeError('invalid-argument', `saveState: ${name} became ${bad}`);
  return data;
}

/** Writes a state into a folder, made if missing. Throws `invalid-argument` for numbers that are none. */
export async function saveModelState(
  folder: string,
  { parameters, optimizer, options }: TrainedState,
): Promise<void> {
  const { stepCount, moments, momenta } = stateOf(optimizer);
  const tensors = new Map<string, Tensor>(parameters);
  for (const [name, { m, v }] of moments) {
    tensors.set(`${name}.m`, m);
    tensors.set(`${name}.v`, v);
  }
  for (const [name, { momentum }] of momenta) tensors.set(`${name}.momentum`, momentum);
  mkdirSync(folder, { recursive: true });
  const entries = [...tensors].map(([name, tensor]) => {
    const data = async () => finite(name, Float32Array.from(await tensor.read()));
    return [name, { dtype: 'F32' as const, shape: tensor.shape, data }] as const;
  });
  const metadata = { step: String(stepCount), options: JSON.stringify(options) };
  await writeSafetensors(fileIn(folder), new Map(entries), { metadata });
}

/**
 * Writes a saved state back. Throws `invalid-file` where there is none or it is of another model, `invalid-config`
 * where it was saved with other settings.
 */
export async function loadModelState(
  folder: string,
  { parameters, optimizer, options }: TrainedState,
): Promise<void> {
  const path = fileIn(folder);
  if (!existsSync(path))
    throw new MinkeError('invalid-file', `loadState: expected a state in ${folder}, found none`);
  const file = await openSafetensors(path);
  try {
    const { step, options: saved } = file.metadata;
    if (saved !== JSON.stringify(options))
      throw new MinkeError(
        'invalid-config',
        `loadState: ${path} was saved with the settings ${saved}, got ${JSON.stringify(options)}; continue with the same`,
      );
    const get = (name: string, size: number): Promise<Float32Array> => {
      const shape = file.tensors.get(name)?.shape;
      if (shape?.reduce((a, b) => a * b, 1) !== size)
        throw new MinkeError(
          'invalid-file',
          `loadState: expected ${name} of ${size} numbers in ${path}, found ${shape ? `[${shape.join(', ')}]` : 'none'}; it belongs to another model`,
        );
      return file.readFloat32(name);
    };
    const values = new Map<Tensor, Float32Array>();
    for (const [name, tensor] of parameters) values.set(tensor, await get(name, tensor.size));
    const own = stateOf(optimizer);
    const moments = new Map<string, { m: Float32Array; v: Float32Array }>();
    for (const [name, { m, v }] of own.moments)
      moments.set(name, { m: await get(`${name}.m`, m.size), v: await get(`${name}.v`, v.size) });
    const momenta = new Map<string, { momentum: Float32Array }>();
    for (const [name, { momentum }] of own.momenta)
      momenta.set(name, { momentum: await get(`${name}.momentum`, momentum.size) });
    for (const [tensor, data] of values) tensor.write(data);
    optimizer.restore({ stepCount: Number(step), moments, momenta });
  } finally {
    await file.close();
  }
}
