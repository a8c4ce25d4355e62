/** For tests of damaged files: what every container that opens must hold, whatever its format. */
import { type ByteSource, MinkeError, memorySource } from '@minke/core';

/** A source over bytes that counts what is read; `check` throws where that is more than twice the file. */
export function countedSource(bytes: Uint8Array): { source: ByteSource; check(): void } {
  let read = 0;
  const inner = memorySource(bytes);
  const source: ByteSource = {
    ...inner,
    read(offset, length) {
      read += length;
      return inner.read(offset, length);
    },
  };
  const check = () => {
    if (read > 2 * bytes.length + 64) throw new Error(`${read} bytes read of ${bytes.length}`);
  };
  return { source, check };
}

interface Container {
  readonly tensors: ReadonlyMap<
    string,
    {
      readonly offset: number;
      readonly byteLength: number;
      readonly dtype: string;
      readonly shape: readonly number[];
    }
  >;
  read(name: string): Promise<Uint8Array>;
  readFloat32(name: string): Promise<Float32Array>;
}

/** Reads every tensor, raw and as numbers; throws where one lies outside of the file or is of another length than it says. */
export async function readAllTensors(file: Container, fileBytes: number): Promise<void> {
  for (const [name, { offset, byteLength, dtype, shape }] of file.tensors) {
    if (offset + byteLength > fileBytes) throw new Error(`${name} ends outside of the file`);
    if ((await file.read(name)).length !== byteLength) throw new Error(`${name} is of another length`);
    const values = await file.readFloat32(name).catch((problem: unknown) => {
      if (MinkeError.isInstance(problem) && problem.code === 'unsupported') return undefined;
      throw problem;
    });
    if (values !== undefined && values.length !== shape.reduce((a, b) => a * b, 1))
      throw new Error(`${name}: ${values.length} numbers of ${dtype} [${shape}]`);
  }
}
