/**
 * Any model that `loadModel` reads (FP8 and blocks of 8 or 4 bits too, safetensors or GGUF) as a plain folder that
 * transformers loads, a piece of a tensor at a time, whatever the size of tensors and model: `saveModel` for what need
 * not be in memory. Names and config.json are those of `saveModel`.
 */
import { fromFloat32, streamCheckpoint, type TensorPart, type TensorSpec } from '@minke/checkpoints';
import { newFolder } from '@minke/checkpoints/new-folder';
import { elementCount, MinkeError, type Shape } from '@minke/core';
import { type ModelConfig, validateConfig } from './config.ts';
import { huggingFaceConfigText } from './hugging-face-config.ts';
import { expectNoMerging, openModel, planReads, type SaveOptions, withPresentMtp } from './load.ts';
import { mtpCopies, packedSource, parameterShapes, publishedTensors, type Target } from './names.ts';
import type { WeightSource } from './weight-source.ts';

export interface ExportModelOptions extends SaveOptions {
  /** Called before each tensor, counted in numbers. */
  readonly onProgress?: (progress: {
    readonly done: number;
    readonly total: number;
    readonly name: string;
  }) => void;
  /** Writes what else belongs in the folder (a tokenizer), before it gets its name. */
  readonly writeRest?: (folder: string) => Promise<void>;
}

/** A tensor to write, and where its numbers are. */
interface Transfer {
  readonly name: string;
  readonly shape: Shape;
  readonly source: string;
  /** Its first number in the source. */
  readonly start: number;
}

/** Numbers that are read and written at once: a multiple of all blocks. */
const pieceSize = 1 << 20;

/**
 * Writes the model at `from`, a folder, a GGUF file or the hub id of one in the cache, into the new folder `out`. Nothing
 * is left of it on failure.
 *
 * @returns the names of the weight files.
 * @throws MinkeError as `loadModel`; `invalid-argument` where there is something at `out`; `invalid-file` for weights
 * that are not finite.
 * @example
 * await exportModel('model.Q4_K_M.gguf', 'model-hf', { dtype: 'bf16' });
 */
export async function exportModel(
  from: string,
  out: string,
  { dtype = 'bf16', maxShardBytes, onProgress, writeRest }: ExportModelOptions = {},
): Promise<readonly string[]> {
  const { writeFile } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const opened = await openModel(from);
  try {
    const { weights } = opened;
    expectNoMerging('exportModel', weights);
    const config = withPresentMtp(validateConfig(opened.config), weights);
    planReads(config, weights); // names everything that is missing or of another shape
    const transfers = transfersOf(config, weights);
    const typeOf = (name: string) =>
      dtype === 'f32' || name.endsWith('e_score_correction_bias') ? 'F32' : 'BF16';
    const specs = new Map(
      transfers.map(({ name, shape }): [string, TensorSpec] => [name, { dtype: typeOf(name), shape }]),
    );
    const total = transfers.reduce((count, { shape }) => count + elementCount(shape), 0);
    return await newFolder(out, async (folder) => {
      const text = huggingFaceConfigText(config, dtype === 'f32' ? 'float32' : 'bfloat16');
      await writeFile(join(folder, 'config.json'), text, { flush: true });
      await writeRest?.(folder);
      const stream = await streamCheckpoint(
        folder,
        specs,
        maxShardBytes === undefined ? {} : { maxShardBytes },
      );
      try {
        let done = 0;
        for (const { name, shape, source, start } of transfers) {
          onProgress?.({ done, total, name });
          const numbers = elementCount(shape);
          for (let at = 0; at < numbers; at += pieceSize) {
            const part = { start: start + at, count: Math.min(pieceSize, numbers - at) };
            await stream.append(name, fromFloat32(typeOf(name), await finiteNumbers(weights, source, part)));
          }
          done += numbers;
        }
        onProgress?.({ done: total, total, name: '' });
        await stream.finish();
        return stream.files;
      } finally {
        await stream.close();
      }
    });
  } finally {
    await opened.close();
  }
}

async function finiteNumbers(weights: WeightSource, source: string, part: TensorPart): Promise<Float32Array> {
  const values = await weights.readFloat32(source, part);
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0)
    throw new MinkeError(
      'invalid-file',
      `exportModel: expected finite weights, got ${values[wrong]} in ${source} (element ${part.start + wrong}); the file is damaged, or the training that wrote it diverged`,
    );
  return values;
}

/** Every tensor of a published checkpoint. All sources are there: `planReads` has looked. */
function transfersOf(config: ModelConfig, weights: WeightSource): Transfer[] {
  const shapes = parameterShapes(config);
  const transfers = publishedTensors(config).map(({ name, shape, target }) => ({
    name,
    shape,
    ...placeOf(name, shape, target, weights),
  }));
  for (const [name, source] of mtpCopies(config))
    transfers.push({ name, shape: shapes.get(source) as Shape, source, start: 0 });
  return transfers;
}

/** Where a published tensor's numbers are: under its own name, or within what holds all experts of a layer. */
function placeOf(name: string, shape: Shape, target: Target, weights: WeightSource) {
  if (weights.tensors.has(name)) return { source: name, start: 0 };
  const size = elementCount(shape);
  const expert = target.expert ?? 0;
  if (weights.tensors.has(target.name)) return { source: target.name, start: expert * size };
  const { name: source, half } = packedSource(target.name) as { name: string; half: 0 | 1 };
  return { source, start: (2 * expert + half) * size };
}
